//! Which types of a Parquet schema are read. The library's reader of rows panics on others, so they are told apart before.

use parquet::{
    basic::{ConvertedType as Converted, LogicalType as Logical, Repetition, Type as Physical},
    schema::types::Type,
};

/// Groups inside of one another.
const DEPTH: usize = 32;

/// Whether a column's values can be read.
///
/// # Errors
/// The name of the type that cannot.
pub(super) fn readable(field: &Type) -> Result<(), String> {
    inside(field, 0)
}

fn inside(field: &Type, depth: usize) -> Result<(), String> {
    if depth > DEPTH {
        return Err(format!("more than {DEPTH} groups inside of one another"));
    }
    if field.is_primitive() {
        return primitive(field);
    }
    let info = field.get_basic_info();
    if let Some(logical) = info
        .logical_type_ref()
        .filter(|logical| !matches!(logical, Logical::List | Logical::Map))
    {
        return Err(name(logical));
    }
    let fields = field.get_fields();
    let repeated = fields.first().filter(|child| is_repeated(child));
    match info.converted_type() {
        Converted::LIST if fields.len() != 1 || repeated.is_none() => return Err("LIST of an unusual form".into()),
        Converted::LIST if repeated.is_some_and(|child| child.is_group() && child.get_fields().is_empty()) => {
            return Err("LIST of nothing".into());
        }
        Converted::MAP | Converted::MAP_KEY_VALUE => {
            let pairs = |child: &Type| child.is_group() && matches!(child.get_fields().len(), 1 | 2);
            if fields.len() != 1 || !repeated.is_some_and(|child| pairs(child)) {
                return Err("MAP of an unusual form".into());
            }
        }
        _ if fields.is_empty() => return Err("a struct without fields".into()),
        _ => {}
    }
    fields.iter().try_for_each(|child| inside(child, depth + 1))
}

fn is_repeated(field: &Type) -> bool {
    let info = field.get_basic_info();
    info.has_repetition() && info.repetition() == Repetition::REPEATED
}

fn primitive(field: &Type) -> Result<(), String> {
    let info = field.get_basic_info();
    let (converted, logical) = (info.converted_type(), info.logical_type_ref());
    let plain = logical.is_none();
    let is_read = match field.get_physical_type() {
        Physical::BOOLEAN | Physical::INT96 | Physical::FLOAT | Physical::DOUBLE => true,
        Physical::INT32 => matches!(
            converted,
            Converted::NONE
                | Converted::INT_8
                | Converted::INT_16
                | Converted::INT_32
                | Converted::UINT_8
                | Converted::UINT_16
                | Converted::UINT_32
                | Converted::DATE
                | Converted::TIME_MILLIS
                | Converted::DECIMAL
        ),
        Physical::INT64 => matches!(
            converted,
            Converted::NONE
                | Converted::INT_64
                | Converted::UINT_64
                | Converted::TIME_MICROS
                | Converted::TIMESTAMP_MILLIS
                | Converted::TIMESTAMP_MICROS
                | Converted::DECIMAL
        ),
        Physical::BYTE_ARRAY => match converted {
            Converted::UTF8 | Converted::ENUM | Converted::JSON | Converted::DECIMAL => true,
            // texts of old writers have no type; what has another one is no text
            Converted::NONE => plain || matches!(logical, Some(Logical::String | Logical::Unknown)),
            _ => false,
        },
        Physical::FIXED_LEN_BYTE_ARRAY => match converted {
            Converted::DECIMAL => true,
            Converted::NONE => matches!(logical, Some(Logical::Float16 | Logical::Uuid | Logical::Unknown)),
            _ => false,
        },
    };
    if is_read {
        return Ok(());
    }
    Err(match logical {
        Some(logical) => name(logical),
        None if converted != Converted::NONE => converted.to_string(),
        None => format!("{} without a meaning", field.get_physical_type()),
    })
}

/// A logical type's name without its parameters.
fn name(logical: &Logical) -> String {
    let text = format!("{logical:?}");
    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_uppercase()
}
