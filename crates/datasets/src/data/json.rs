//! JSON as data sets have it: numbers keep their digits, and `NaN` and `Infinity`, which Python and DuckDB write, are read.

use super::{caps, cell::Cell};

/// Where a text is no JSON, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    /// Byte from the beginning.
    pub at: usize,
    /// What is wrong there.
    pub why: String,
}

/// One JSON value, and how many more cells may be read.
pub(super) fn parse(text: &str, cells: &mut usize) -> Result<Cell, Bad> {
    let mut reader = Reader { text, at: 0, cells };
    let value = reader.value(0)?;
    reader.space();
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.bad("something follows the end of the value")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    cells: &'a mut usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn bad(&self, why: &str) -> Bad {
        let why = match self.peek() {
            Some(_) => why.to_owned(),
            None => "it ends too early".to_owned(),
        };
        Bad { at: self.at, why }
    }

    fn value(&mut self, depth: usize) -> Result<Cell, Bad> {
        self.space();
        if depth > caps::DEPTH {
            return Err(self.bad(&format!(
                "more than {} lists and objects inside of one another",
                caps::DEPTH
            )));
        }
        *self.cells = self
            .cells
            .checked_sub(1)
            .ok_or_else(|| self.bad(&format!("more than {} cells: give a part of the file", caps::CELLS)))?;
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Cell::Text),
            _ => self.word(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Cell, Bad> {
        let mut fields: Vec<(String, Cell)> = Vec::new();
        self.at += 1;
        self.space();
        if self.eat(b'}') {
            return Ok(Cell::Object(fields));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.bad("a key in double quotes is expected"));
            }
            let key = self.string()?;
            self.space();
            if !self.eat(b':') {
                return Err(self.bad("`:` is expected"));
            }
            let value = self.value(depth + 1)?;
            // as everywhere: of a key that occurs twice the last value counts. Long objects are not searched: reading stays linear.
            match fields.iter_mut().take(caps::DEPTH).find(|(name, _)| *name == key) {
                Some((_, earlier)) => *earlier = value,
                None => fields.push((key, value)),
            }
            self.space();
            if self.eat(b'}') {
                return Ok(Cell::Object(fields));
            }
            if !self.eat(b',') {
                return Err(self.bad("`,` or `}` is expected"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Cell, Bad> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.eat(b']') {
            return Ok(Cell::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.eat(b']') {
                return Ok(Cell::List(items));
            }
            if !self.eat(b',') {
                return Err(self.bad("`,` or `]` is expected"));
            }
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    fn string(&mut self) -> Result<String, Bad> {
        let begin = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => {
                    return Err(Bad {
                        at: begin,
                        why: "a text that begins here never ends".into(),
                    });
                }
            }
        }
        self.at += 1;
        let quoted = self.text.get(begin..self.at).unwrap_or_default();
        serde_json::from_str(quoted).map_err(|error| Bad {
            at: begin,
            why: format!(
                "this text is not valid: {}",
                error.to_string().replace(" at line 1 column", ", its character")
            ),
        })
    }

    fn word(&mut self) -> Result<Cell, Bad> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
            .unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let cell = match word {
            "null" => Cell::Null,
            "true" => Cell::Bool(true),
            "false" => Cell::Bool(false),
            "NaN" | "nan" | "-nan" | "Infinity" | "-Infinity" | "inf" | "-inf" => Cell::NoNumber(word.to_owned()),
            number if is_number(number) => Cell::Number(number.to_owned()),
            _ => return Err(self.bad("a value is expected")),
        };
        self.at += end;
        Ok(cell)
    }
}

/// A number by JSON's grammar.
pub(super) fn is_number(word: &str) -> bool {
    // the library's own reading, without a rounding of ours
    word.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && (serde_json::from_str::<serde_json::Number>(word).is_ok() || is_long(word))
}

/// A number beyond what a machine's number holds, such as `1e999`.
fn is_long(word: &str) -> bool {
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (unsigned, "0"),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(part) && digits(exponent) && (whole.len() == 1 || !whole.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Cell, Bad> {
        parse(text, &mut 100)
    }

    #[test]
    fn numbers_keep_their_digits_and_what_is_none_is_told_apart() {
        for number in ["31415926535897932384", "1.10", "-0.0", "1E+5", "1e999", "0"] {
            assert_eq!(read(number), Ok(Cell::Number(number.into())));
        }
        for word in ["NaN", "Infinity", "-Infinity", "nan", "inf", "-inf"] {
            assert_eq!(read(word), Ok(Cell::NoNumber(word.into())));
        }
        for bad in [
            "01", "1.", ".5", "+1", "1e", "--1", "nul", "tru", "None", "-", "", "1 2", "'a'",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_nest_and_errors_say_where() {
        let text = Cell::Text("a\n\u{1F600}\"".into());
        let wanted = Cell::Object(vec![
            ("k".into(), Cell::List(vec![text, Cell::Null])),
            ("e".into(), Cell::Object(vec![])),
        ]);
        assert_eq!(read(r#" {"k": ["a\n\ud83d\ude00\"", null], "e": {} } "#), Ok(wanted));
        assert_eq!(
            read(r#"{"a":1,"a":2}"#),
            Ok(Cell::Object(vec![("a".into(), Cell::Number("2".into()))]))
        );
        for (bad, at) in [
            (r#"{"a" 1}"#, 5),
            ("[1 2]", 3),
            (r#"["ab]"#, 1),
            ("{1:2}", 1),
            ("[1,]", 3),
            ("[\"\\ud800\"]", 1),
        ] {
            assert_eq!(read(bad).map_err(|bad| bad.at), Err(at), "{bad}");
        }
        assert!(read(&"[".repeat(1000)).unwrap_err().why.contains("64"));
        assert!(parse("[1,2,3]", &mut 3).unwrap_err().why.contains("cells"));
    }
}
