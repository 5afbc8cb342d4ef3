//! Runs taken out of the bus, read back and deleted; and recorded runs of released versions, which must be readable for ever.

use anyhow::{Context as _, Result};
use prost::Message as _;
use sipdo_protocol::pb::{self, State};
use sipdo_tests::{
    Cluster, Setup,
    cluster::{Client, ended},
    task::{counting, request},
    watch::RUN,
};
use std::{fs, path::Path};

const MAGIC: &[u8] = b"sipdo-archive-1\n";

async fn export(client: &Client, run: &str) -> Result<Vec<pb::Record>> {
    let request = pb::ExportRunRequest { run: run.to_owned() };
    let mut stream = client.clone().export_run(request).await?.into_inner();
    let mut records = Vec::new();
    while let Some(record) = stream.message().await? {
        records.push(record);
    }
    Ok(records)
}

async fn read(client: &Client, records: Vec<pb::Record>) -> Result<pb::Run, tonic::Status> {
    let read = client.clone().read_archive(futures::stream::iter(records)).await?;
    Ok(read.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_read_back_from_its_records_after_it_was_deleted() -> Result<()> {
    let cluster = Cluster::start(&Setup::default()).await?;
    let mut client = cluster.client().await?;
    // No model answers, so that the run cannot have ended when it is to be deleted.
    cluster.simulator.signal("STOP")?;
    let create = request(counting(8, 8), "sipdo", &serde_json::json!({"levels": 2}), None);
    let run = client.create_run(create.clone()).await?.into_inner();
    let run = run.summary.context("a summary")?.run;
    let delete = pb::DeleteRunRequest { run: run.clone() };
    let early = client.delete_run(delete.clone()).await.expect_err("it has not ended");
    assert_eq!(early.code(), tonic::Code::FailedPrecondition);
    cluster.simulator.signal("CONT")?;

    let before = ended(&client, &run, RUN).await?;
    let records = export(&client, &run).await?;
    let task = records.first().context("a task")?;
    assert_eq!(
        pb::Task::decode(task.payload.as_slice())?,
        create.task.context("a task")?
    );
    let removed = client.delete_run(delete.clone()).await?.into_inner().messages;
    assert!(removed >= records.len() as u64 - 1, "{removed} of {}", records.len());
    let gone = client
        .get_run(pb::GetRunRequest { run: run.clone() })
        .await
        .expect_err("it is deleted");
    assert_eq!(gone.code(), tonic::Code::NotFound);
    assert_eq!(
        client
            .list_runs(pb::ListRunsRequest::default())
            .await?
            .into_inner()
            .runs,
        Vec::new()
    );

    assert_eq!(
        read(&client, records.clone()).await?,
        before,
        "nothing is missing from the archive"
    );
    let shuffled: Vec<pb::Record> = records.iter().rev().cloned().collect();
    assert_eq!(
        read(&client, shuffled).await.expect_err("out of order").code(),
        tonic::Code::InvalidArgument
    );
    assert_eq!(
        read(&client, Vec::new()).await.expect_err("empty").code(),
        tonic::Code::InvalidArgument
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_runs_of_every_released_version_can_be_read() -> Result<()> {
    let cluster = Cluster::start(&Setup {
        agents: 0,
        ..Setup::default()
    })
    .await?;
    let client = cluster.client().await?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded");
    let mut read_back = 0;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "sipdo") {
            continue;
        }
        let bytes = fs::read(&path)?;
        let mut rest = bytes.strip_prefix(MAGIC).context("an archive")?;
        let mut records = Vec::new();
        while !rest.is_empty() {
            records.push(pb::Record::decode_length_delimited(&mut rest)?);
        }
        let run = read(&client, records).await?;
        let summary = run.summary.context("a summary")?;
        assert_eq!(summary.state(), State::Finished, "{}", path.display());
        assert!(
            summary.jobs_done > 0 && summary.spent.context("spent")?.calls > 0,
            "{}",
            path.display()
        );
        let outcome = run.outcome.context("an outcome")?;
        assert!(
            outcome.prompts.iter().any(|prompt| prompt.version == outcome.best),
            "{}",
            path.display()
        );
        read_back += 1;
    }
    assert!(read_back > 0, "no recorded run in {}", folder.display());
    Ok(())
}
