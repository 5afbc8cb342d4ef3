//! Lists and objects that a file holds as text: pandas writes `['a', 'b']`, NumPy `['a' 'b']`, DuckDB `[a, b]`, others JSON.

use super::{caps, cell::Cell, json};

/// The list or object that a text writes; none where it is plain text, or a list that was cut (`...`).
pub(super) fn listed(text: &str) -> Option<Cell> {
    let text = text.trim();
    if !text.starts_with(['[', '{', '(']) || text.contains("...") && !text.contains(['\'', '"']) {
        return None;
    }
    if let Ok(cell @ (Cell::List(_) | Cell::Object(_))) = json::parse(text, &mut caps::CELLS.clone()) {
        return Some(cell);
    }
    let mut reader = Reader { rest: text };
    let cell = reader.value(0)?;
    reader.space();
    reader.rest.is_empty().then_some(cell)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: char) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Cell> {
        self.space();
        if depth > caps::DEPTH {
            return None;
        }
        if self.eat('[') {
            return self.list(']', depth);
        }
        if self.eat('(') {
            return self.list(')', depth);
        }
        if self.eat('{') {
            return self.object(depth);
        }
        if let Some(rest) = self.rest.strip_prefix("array(") {
            self.rest = rest;
            let cell = self.value(depth + 1)?;
            let (_, rest) = self.rest.split_once(')')?;
            self.rest = rest;
            return Some(cell);
        }
        match self.rest.chars().next()? {
            quote @ ('\'' | '"') => self.quoted(quote).map(Cell::Text),
            _ => self.bare(),
        }
    }

    fn list(&mut self, end: char, depth: usize) -> Option<Cell> {
        let mut items = Vec::new();
        loop {
            if self.eat(end) {
                return Some(Cell::List(items));
            }
            match self.value(depth + 1)? {
                // NumPy parts numbers by spaces
                Cell::Text(text) if numbers(&text).len() > 1 => items.extend(numbers(&text)),
                item => items.push(item),
            }
            // NumPy writes no commas
            self.eat(',');
        }
    }

    fn object(&mut self, depth: usize) -> Option<Cell> {
        let mut fields = Vec::new();
        loop {
            if self.eat('}') {
                return Some(Cell::Object(fields));
            }
            self.space();
            let key = match self.rest.chars().next()? {
                quote @ ('\'' | '"') => self.quoted(quote)?,
                _ => {
                    let (key, _) = self.rest.split_once([':', '='])?;
                    let key = key.to_owned();
                    self.rest = self.rest.get(key.len()..)?;
                    key.trim().to_owned()
                }
            };
            if !self.eat(':') && !self.eat('=') {
                return None;
            }
            fields.push((key, self.value(depth + 1)?));
            self.eat(',');
        }
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut chars = self.rest.char_indices().skip(1);
        let mut text = String::new();
        loop {
            match chars.next()? {
                (at, c) if c == quote => {
                    self.rest = self.rest.get(at + c.len_utf8()..)?;
                    return Some(text);
                }
                (_, '\\') => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'x' => text.push(coded(&mut chars, 2)?),
                    'u' => text.push(coded(&mut chars, 4)?),
                    'U' => text.push(coded(&mut chars, 8)?),
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    c => text.extend(['\\', c]),
                },
                (_, c) => text.push(c),
            }
        }
    }

    /// A word without quotes: up to the next comma or bracket.
    fn bare(&mut self) -> Option<Cell> {
        let end = self.rest.find([',', ']', '}', ')', '\'', '"', '[', '{'])?;
        let word = self.rest.get(..end)?.trim();
        self.rest = self.rest.get(end..)?;
        match word {
            "" | "..." => None,
            "None" | "null" | "NULL" => Some(Cell::Null),
            "True" | "true" => Some(Cell::Bool(true)),
            "False" | "false" => Some(Cell::Bool(false)),
            "nan" | "NaN" => Some(Cell::NoNumber("NaN".into())),
            number if json::is_number(number) => Some(Cell::Number(number.to_owned())),
            // cut off by NumPy
            text if text.contains("...") => None,
            text => Some(Cell::Text(text.to_owned())),
        }
    }
}

fn numbers(text: &str) -> Vec<Cell> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    // NumPy writes `1.` for 1.0
    let is_number = |part: &&str| json::is_number(part.strip_suffix('.').unwrap_or(part));
    match parts.iter().all(is_number) {
        true => parts
            .into_iter()
            .map(|part| Cell::Number(part.trim_end_matches('.').to_owned()))
            .collect(),
        false => Vec::new(),
    }
}

fn coded(chars: &mut impl Iterator<Item = (usize, char)>, digits: usize) -> Option<char> {
    let hex: String = chars.take(digits).map(|(_, c)| c).collect();
    char::from_u32(u32::from_str_radix(&hex, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Vec<String>> {
        match listed(text)? {
            Cell::List(list) => Some(list.iter().map(Cell::words).collect()),
            other => Some(vec![other.words()]),
        }
    }

    #[test]
    fn lists_of_every_tool_are_read() {
        let two = Some(vec!["tea, hot".to_owned(), "milk".to_owned()]);
        for text in [
            "['tea, hot', 'milk']",
            "[\"tea, hot\", \"milk\"]",
            "['tea, hot' 'milk']",
            "['tea, hot'\n 'milk']",
            "('tea, hot', 'milk')",
            "['tea, hot', milk]",
        ] {
            assert_eq!(texts(text), two, "{text}");
        }
        assert_eq!(texts("[tea, milk]"), Some(vec!["tea".into(), "milk".into()]));
        assert_eq!(
            texts(r#"["it's", 'a \'b\' \\boxed']"#),
            Some(vec!["it's".into(), r"a 'b' \boxed".into()])
        );
        assert_eq!(texts("[1 2 3]"), Some(vec!["1".into(), "2".into(), "3".into()]));
        assert_eq!(
            texts("[None, True, 1.5]"),
            Some(vec![String::new(), "true".into(), "1.5".into()])
        );
        assert_eq!(
            listed("{'text': array(['a', 'b'], dtype=object), 'n': 1}").map(|cell| cell.words()),
            Some("{text: [a, b], n: 1}".into())
        );
        assert_eq!(texts("[]"), Some(vec![]));
    }

    #[test]
    fn what_is_no_list_stays_text() {
        for text in [
            "tea",
            "[tea",
            "['tea', 'milk'] and more",
            "[0 1 ... 98 99]",
            "['a' 'b' ... 'y' 'z']",
            "",
            "{",
            "[,]",
        ] {
            assert_eq!(listed(text), None, "{text}");
        }
    }
}
