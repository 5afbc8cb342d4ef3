//! The contract documents itself: every message, field, enum, value, service and method of `proto/sipdo/v1` has a comment.
#![expect(clippy::unwrap_used, reason = "helpers of a test may fail it")]

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use sipdo_protocol::{SCHEMA, pb};
use std::collections::HashSet;

/// Paths of a file's descriptors (as in `SourceCodeInfo`) with their names.
type Places = Vec<(Vec<i32>, String)>;

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    let ours: Vec<_> = set.file.into_iter().filter(|file| file.package() == SCHEMA).collect();
    assert_eq!(ours.len(), 4, "common, job, journal, run_service");
    ours
}

fn at(path: &[i32], tag: i32, index: usize) -> Vec<i32> {
    let mut path = path.to_vec();
    path.extend([tag, i32::try_from(index).unwrap()]);
    path
}

fn places_of_enum(places: &mut Places, path: Vec<i32>, outer: &str, of: &EnumDescriptorProto) {
    let name = format!("{outer}.{}", of.name());
    for (index, value) in of.value.iter().enumerate() {
        places.push((at(&path, 2, index), format!("{name}.{}", value.name())));
    }
    places.push((path, name));
}

fn places_of_message(places: &mut Places, path: Vec<i32>, outer: &str, of: &DescriptorProto) {
    if of.options.as_ref().is_some_and(|options| options.map_entry()) {
        return;
    }
    let name = format!("{outer}.{}", of.name());
    for (index, field) in of.field.iter().enumerate() {
        places.push((at(&path, 2, index), format!("{name}.{}", field.name())));
    }
    for (index, nested) in of.nested_type.iter().enumerate() {
        places_of_message(places, at(&path, 3, index), &name, nested);
    }
    for (index, nested) in of.enum_type.iter().enumerate() {
        places_of_enum(places, at(&path, 4, index), &name, nested);
    }
    places.push((path, name));
}

fn places_of_file(file: &FileDescriptorProto) -> Places {
    let mut places = Places::new();
    for (index, message) in file.message_type.iter().enumerate() {
        places_of_message(&mut places, at(&[], 4, index), file.name(), message);
    }
    for (index, of) in file.enum_type.iter().enumerate() {
        places_of_enum(&mut places, at(&[], 5, index), file.name(), of);
    }
    for (index, service) in file.service.iter().enumerate() {
        let path = at(&[], 6, index);
        let name = format!("{}.{}", file.name(), service.name());
        for (index, method) in service.method.iter().enumerate() {
            places.push((at(&path, 2, index), format!("{name}.{}", method.name())));
        }
        places.push((path, name));
    }
    places
}

#[test]
fn everything_has_a_comment() {
    let mut seen = 0;
    for file in files() {
        let info = file
            .source_code_info
            .as_ref()
            .expect("descriptors keep their source info");
        let commented: HashSet<&[i32]> = info
            .location
            .iter()
            .filter(|location| !location.leading_comments().trim().is_empty())
            .map(|location| location.path.as_slice())
            .collect();
        for (path, name) in places_of_file(&file) {
            assert!(commented.contains(path.as_slice()), "{name} has no comment");
            seen += 1;
        }
    }
    assert!(seen > 300, "only {seen} places were looked at");
}

#[test]
fn every_enum_keeps_zero_for_what_is_never_sent() {
    fn enums(message: &DescriptorProto) -> Vec<&EnumDescriptorProto> {
        let nested = message.nested_type.iter().flat_map(enums);
        message.enum_type.iter().chain(nested).collect()
    }
    for file in files() {
        for of in file.enum_type.iter().chain(file.message_type.iter().flat_map(enums)) {
            let zero = of
                .value
                .iter()
                .find(|value| value.number() == 0)
                .expect("proto3 has a zero");
            assert!(zero.name().ends_with("_UNSPECIFIED"), "{}", of.name());
        }
    }
}
