//! Values of a Parquet file as cells, by their type in the schema.

use super::{super::cell::Cell, classes::Classes};
use parquet::{
    basic::{LogicalType as Logical, TimeUnit},
    data_type::Decimal,
    record::{Field, Row as Record},
    schema::types::{Type, TypePtr},
};

/// Days and milliseconds of the years 1 to 9999, which a date is printed for.
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;
const DAY_MILLIS: i64 = 86_400_000;

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Bytes of texts.
    pub bytes: u64,
}

impl Reading {
    /// A row's columns, which are these fields of the schema in this order.
    pub fn row(&mut self, record: &Record, fields: &[TypePtr], classes: &Classes) -> Vec<(String, Cell)> {
        let pairs = record.get_column_iter().zip(fields);
        pairs
            .map(|((name, value), field)| (name.clone(), self.cell(value, Some(field), classes.field(name))))
            .collect()
    }

    fn cell(&mut self, value: &Field, field: Option<&Type>, classes: &Classes) -> Cell {
        self.bytes += 16;
        match value {
            Field::Null => Cell::Null,
            Field::Bool(value) => Cell::Bool(*value),
            Field::Byte(value) => whole(i64::from(*value), classes),
            Field::Short(value) => whole(i64::from(*value), classes),
            Field::Int(value) => whole(i64::from(*value), classes),
            Field::Long(value) => long(*value, field, classes),
            Field::UByte(value) => whole(i64::from(*value), classes),
            Field::UShort(value) => whole(i64::from(*value), classes),
            Field::UInt(value) => whole(i64::from(*value), classes),
            Field::ULong(value) => Cell::Number(value.to_string()),
            // `Debug` of a real gives the shortest digits that name it, of its own precision
            Field::Float16(value) => real(f64::from(f32::from(*value)), format!("{:?}", f32::from(*value))),
            Field::Float(value) => real(f64::from(*value), format!("{value:?}")),
            Field::Double(value) => real(*value, format!("{value:?}")),
            Field::Decimal(value) => Cell::Number(decimal(value)),
            Field::Str(text) => self.text(text.clone()),
            Field::Bytes(bytes) => match (logical(field), std::str::from_utf8(bytes.data())) {
                (Some(Logical::Uuid), _) => Cell::Text(uuid(bytes.data())),
                (_, Ok(text)) => self.text(text.to_owned()),
                (_, Err(_)) => Cell::Unreadable("holds bytes that are no text".into()),
            },
            Field::Group(record) => {
                let fields = field.filter(|field| field.is_group()).map(Type::get_fields);
                let of = |name: &str| fields.and_then(|fields| fields.iter().find(|field| field.name() == name));
                let columns = record.get_column_iter();
                let columns = columns.map(|(name, value)| {
                    let cell = self.cell(value, of(name).map(AsRef::as_ref), classes.field(name));
                    (name.clone(), cell)
                });
                Cell::Object(columns.collect())
            }
            Field::ListInternal(list) => {
                let element = field.and_then(element);
                let items = list.elements().iter();
                Cell::List(items.map(|item| self.cell(item, element, classes.element())).collect())
            }
            Field::MapInternal(map) => {
                let pair = |at: usize| field?.get_fields().first()?.get_fields().get(at).map(AsRef::as_ref);
                let entries = map.entries().iter().map(|(key, value)| {
                    let key = self.cell(key, pair(0), &Classes::None).words();
                    (key, self.cell(value, pair(1), &Classes::None))
                });
                Cell::Object(entries.collect())
            }
            Field::Date(days) => printed(value, DAYS.contains(&i64::from(*days))),
            Field::TimestampMillis(millis) => printed(value, DAYS.contains(&millis.div_euclid(DAY_MILLIS))),
            Field::TimestampMicros(micros) => printed(value, DAYS.contains(&micros.div_euclid(DAY_MILLIS * 1000))),
            Field::TimeMillis(_) | Field::TimeMicros(_) => printed(value, true),
        }
    }

    fn text(&mut self, text: String) -> Cell {
        self.bytes += text.len() as u64;
        Cell::Text(text)
    }
}

fn logical(field: Option<&Type>) -> Option<&Logical> {
    field.and_then(|field| field.get_basic_info().logical_type_ref())
}

/// The schema of a list's elements: behind the repeated group, or the repeated group itself where it is old or has several fields.
fn element(list: &Type) -> Option<&Type> {
    if !list.is_group() {
        return Some(list);
    }
    let repeated = list.get_fields().first()?;
    match repeated.is_group()
        && repeated.get_fields().len() == 1
        && repeated.name() != "array"
        && !repeated.name().ends_with("_tuple")
    {
        true => repeated.get_fields().first().map(AsRef::as_ref),
        false => Some(repeated),
    }
}

/// A whole number, or the label that it stands for; -1 stands for none.
fn whole(number: i64, classes: &Classes) -> Cell {
    let Classes::Names(names) = classes else {
        return Cell::Number(number.to_string());
    };
    let name = usize::try_from(number).ok().and_then(|at| names.get(at));
    match (name, number) {
        (Some(name), _) => Cell::Text(name.clone()),
        (None, -1) => Cell::Null,
        (None, _) => Cell::Unreadable(format!(
            "holds the label {number}, but the file names labels 0 to {}",
            names.len().saturating_sub(1)
        )),
    }
}

fn long(number: i64, field: Option<&Type>, classes: &Classes) -> Cell {
    match logical(field) {
        Some(Logical::Timestamp(stamp)) if stamp.unit == TimeUnit::NANOS => {
            let micros = Field::TimestampMicros(number.div_euclid(1000));
            let text = micros.to_string();
            match number.rem_euclid(1000) {
                0 => Cell::Text(text),
                nanos => Cell::Text(text.replacen(" +", &format!("{nanos:03} +"), 1)),
            }
        }
        Some(Logical::Time(time)) if time.unit == TimeUnit::NANOS => {
            let text = Field::TimeMicros(number.div_euclid(1000)).to_string();
            match number.rem_euclid(1000) {
                0 => Cell::Text(text),
                nanos => Cell::Text(format!("{text}{nanos:03}")),
            }
        }
        _ => whole(number, classes),
    }
}

fn real(value: f64, text: String) -> Cell {
    match value.is_finite() {
        true => Cell::Number(text),
        false => Cell::NoNumber(match (value.is_nan(), value > 0.0) {
            (true, _) => "NaN".into(),
            (false, true) => "Infinity".into(),
            (false, false) => "-Infinity".into(),
        }),
    }
}

/// Dates and times as the library prints them, where it can.
fn printed(value: &Field, can: bool) -> Cell {
    match can {
        true => Cell::Text(value.to_string()),
        false => Cell::Unreadable("holds a date outside of the years 1 to 9999".into()),
    }
}

fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// A decimal's digits: a whole number in two's complement, of which the last `scale` digits stand behind the point.
fn decimal(value: &Decimal) -> String {
    let bytes = value.data();
    let is_negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut digits = magnitude(bytes, is_negative);
    let scale = usize::try_from(value.scale()).unwrap_or_default();
    if scale > 0 {
        if digits.len() <= scale {
            digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
        }
        digits.insert(digits.len() - scale, '.');
    }
    match is_negative {
        true => format!("-{digits}"),
        false => digits,
    }
}

/// The digits of a big-endian number, by dividing it by ten again and again.
fn magnitude(bytes: &[u8], is_negative: bool) -> String {
    let mut rest: Vec<u8> = bytes
        .iter()
        .map(|byte| if is_negative { !byte } else { *byte })
        .collect();
    if is_negative {
        for byte in rest.iter_mut().rev() {
            let (sum, carried) = byte.overflowing_add(1);
            *byte = sum;
            if !carried {
                break;
            }
        }
    }
    let mut digits = Vec::new();
    while rest.iter().any(|byte| *byte != 0) {
        let mut remainder = 0_u16;
        for byte in &mut rest {
            let value = remainder * 256 + u16::from(*byte);
            *byte = u8::try_from(value / 10).unwrap_or_default();
            remainder = value % 10;
        }
        digits.push(char::from(b'0' + u8::try_from(remainder).unwrap_or_default()));
    }
    match digits.is_empty() {
        true => "0".into(),
        false => digits.into_iter().rev().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_every_digit() {
        let of = |value: i64, scale| decimal(&Decimal::from_i64(value, 18, scale));
        assert_eq!(
            (of(15, 1), of(-5, 2), of(0, 2), of(1200, 0)),
            ("1.5".into(), "-0.05".into(), "0.00".into(), "1200".into())
        );
        let wide = Decimal::from_bytes(vec![0x7f; 16].into(), 38, 3);
        assert_eq!(
            decimal(&wide),
            format!("{}", i128::from_be_bytes([0x7f; 16]))
                .chars()
                .rev()
                .enumerate()
                .fold(String::new(), |text, (at, c)| if at == 3 {
                    format!("{c}.{text}")
                } else {
                    format!("{c}{text}")
                })
        );
        let least = Decimal::from_bytes(vec![0x80, 0].into(), 5, 0);
        assert_eq!(decimal(&least), "-32768");
    }
}
