//! Runs as files: the journal for reading, an archive for keeping, and the end of a run's messages.

use super::show;
use crate::{
    failure::{Exit, Failure, Outcome},
    files,
    global::Global,
    held_out::{HeldOut, rebuild, records::Records},
    json, output,
    session::{run_named, shown},
};
use anyhow::Context as _;
use prost::Message as _;
use serde_json::{Value, json};
use sipdo_protocol::{pb, schema};
use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

/// First bytes of an archive: its name and the version of its form.
const MAGIC: &[u8] = b"sipdo-archive-1\n";

/// Prints every message of a run's stream as JSON.
///
/// # Errors
/// The coordinator does not answer, or there is no such run.
pub async fn export_journal(global: &Global, name: &str) -> Outcome {
    global
        .with_api(Some(name), async |api| {
            let run = run_named(api, name).await?;
            let mut records = api.export_run(pb::ExportRunRequest { run }).await?.into_inner();
            while let Some(record) = records.message().await? {
                output::json_line(&readable(&record)?)?;
            }
            Ok(Exit::Ok)
        })
        .await
}

/// A record with its content as JSON; what cannot be decoded is told by its size.
fn readable(record: &pb::Record) -> anyhow::Result<Value> {
    fn decoded<M: prost::Message + Default>(name: &str, payload: &[u8]) -> anyhow::Result<Value> {
        match M::decode(payload) {
            Ok(message) => json::message(name, &message),
            Err(error) => Ok(json!({ "undecodable": error.to_string(), "bytes": payload.len() })),
        }
    }
    let payload = record.payload.as_slice();
    let message = match (record.kind.as_str(), record.schema.as_str()) {
        ("task", _) => decoded::<pb::Task>("Task", payload)?,
        (_, schema::ENTRY) => decoded::<pb::Entry>("Entry", payload)?,
        (_, schema::RESULT) => decoded::<pb::JobResult>("JobResult", payload)?,
        (_, schema::LOST) => decoded::<pb::AttemptLost>("AttemptLost", payload)?,
        (_, schema::CONTROL) => decoded::<pb::Control>("Control", payload)?,
        _ => json!({ "bytes": payload.len() }),
    };
    Ok(json!({
        "sequence": record.sequence,
        "at_ms": record.at_ms,
        "kind": record.kind,
        "schema": record.schema,
        "message": message,
    }))
}

/// Writes a run into one file.
///
/// # Errors
/// The coordinator does not answer, there is no such run, or the file is there already or cannot be written.
pub async fn write(global: &Global, name: &str, file: Option<&Path>, force: bool) -> Outcome {
    global
        .with_api(Some(name), async |api| {
            let run = run_named(api, name).await?;
            let path = file.map_or_else(|| PathBuf::from(format!("{run}.sipdo")), Path::to_owned);
            files::check_file(&path, force)?;
            let unfinished = path.with_extension("part");
            let refused = || format!("cannot write {}", shown(&path));
            let mut records = api
                .export_run(pb::ExportRunRequest { run: run.clone() })
                .await?
                .into_inner();
            let mut out = BufWriter::new(File::create(&unfinished).with_context(refused)?);
            out.write_all(MAGIC).with_context(refused)?;
            let mut count = 0_u64;
            while let Some(record) = records.message().await? {
                out.write_all(&record.encode_length_delimited_to_vec())
                    .with_context(refused)?;
                count += 1;
            }
            out.into_inner()
                .map_err(std::io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .with_context(refused)?;
            // Whoever sees the file sees all of it.
            fs::rename(&unfinished, &path).with_context(refused)?;
            if output::json() {
                output::json_line(&json!({ "run": run, "file": path, "records": count }))?;
            } else {
                output::note(&format!("{run}: {count} records in {}", shown(&path)));
            }
            Ok(Exit::Ok)
        })
        .await
}

/// Shows the run that a file keeps.
///
/// # Errors
/// The file is not an archive or is broken; no coordinator answers.
pub async fn read(global: &Global, file: &Path) -> Outcome {
    let records = records(&fs::read(file).map_err(|error| Failure::usage(format!("{}: {error}", shown(file))))?)
        .map_err(|error| Failure::usage(format!("{}: {error:#}", shown(file))))?;
    // Whose models the runs of the folder had does not matter here: none of them is shown.
    let no_run_of_the_folder = Some("-");
    global
        .with_api(no_run_of_the_folder, async |api| {
            let test = test(&records).await;
            let run = api.read_archive(futures::stream::iter(records)).await?.into_inner();
            show::print(&run, false, test.as_ref())?;
            Ok(Exit::Ok)
        })
        .await
}

/// The held-out test that an archive keeps; none where it was not taken.
async fn test(archive: &[pb::Record]) -> Option<HeldOut> {
    let mut records = Records::default();
    for record in archive {
        // What cannot be decoded is said by whoever reads the whole archive.
        records.add(record.clone()).ok()?;
    }
    records.outcome.as_ref()?;
    rebuild::of(&records).await.ok()
}

fn records(bytes: &[u8]) -> anyhow::Result<Vec<pb::Record>> {
    let mut rest = bytes
        .strip_prefix(MAGIC)
        .context("this is not a file of `sipdo runs archive`")?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let record = pb::Record::decode_length_delimited(&mut rest);
        records.push(record.with_context(|| format!("record {} is broken", records.len() + 1))?);
    }
    Ok(records)
}

/// Removes an ended run.
///
/// # Errors
/// It has not ended, there is none, or nobody has said yes.
pub async fn delete(global: &Global, name: &str, yes: bool) -> Outcome {
    if !yes {
        return Err(
            Failure::usage(format!("this deletes run {name} and all its messages")).hint(format!(
                "`sipdo runs archive {name}` writes it to a file first; add --yes to delete it"
            )),
        );
    }
    global
        .with_api(Some(name), async |api| {
            let run = run_named(api, name).await?;
            let removed = api
                .delete_run(pb::DeleteRunRequest { run: run.clone() })
                .await?
                .into_inner()
                .messages;
            if output::json() {
                output::json_line(&json!({ "run": run, "messages": removed }))?;
            } else {
                output::note(&format!("{run}: deleted, {}", output::plural(removed, "message")));
            }
            Ok(Exit::Ok)
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64) -> pb::Record {
        pb::Record {
            run: "r".into(),
            sequence,
            kind: "log".into(),
            payload: vec![7; 3],
            ..Default::default()
        }
    }

    #[test]
    fn what_is_no_whole_archive_is_refused() {
        let mut file = MAGIC.to_vec();
        for sequence in 1..=3 {
            file.extend(record(sequence).encode_length_delimited_to_vec());
        }
        assert_eq!(records(&file).unwrap(), [record(1), record(2), record(3)]);
        let cut = file.get(..file.len() - 1).unwrap();
        assert!(records(cut).unwrap_err().to_string().contains("record 3"));
        assert!(records(b"{}").unwrap_err().to_string().contains("not a file of"));
    }

    #[test]
    fn a_message_that_cannot_be_decoded_is_told_by_its_size() {
        let junk = pb::Record {
            schema: schema::ENTRY.into(),
            payload: vec![0xff; 9],
            ..record(1)
        };
        assert_eq!(readable(&junk).unwrap()["message"]["bytes"], 9);
        let unknown = readable(&record(2)).unwrap();
        assert_eq!(
            (&unknown["message"]["bytes"], &unknown["sequence"]),
            (&json!(3), &json!(2))
        );
    }
}
