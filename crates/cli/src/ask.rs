//! What several commands ask a coordinator.

use sipdo_domain::Pool;
use sipdo_protocol::pb;

use crate::{
    client::Api,
    failure::{Exit, Failure, refusal_reason},
    output::{self, clean_line},
    words::pool_words,
};

/// The newest runs, at most `limit`.
///
/// # Errors
/// The coordinator does not answer.
pub async fn newest(api: &mut Api, limit: u32) -> Result<Vec<pb::Summary>, Failure> {
    let mut runs: Vec<pb::Summary> = Vec::new();
    let mut page_token = String::new();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    while runs.len() < limit {
        let page_size = i32::try_from((limit - runs.len()).min(500)).unwrap_or(500);
        let page = api
            .list_runs(pb::ListRunsRequest { page_size, page_token })
            .await?
            .into_inner();
        runs.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(runs)
}

/// The cards of those that answer in time, by role, pool and id.
///
/// # Errors
/// The coordinator does not answer.
pub async fn roll_call(api: &mut Api, wait_ms: u32) -> Result<Vec<pb::AgentStatus>, Failure> {
    let mut cards = api
        .list_agents(pb::ListAgentsRequest { wait_ms })
        .await?
        .into_inner()
        .agents;
    cards.sort_by_cached_key(|card| (pool_words(&card.role, &card.pool), card.agent.clone()));
    Ok(cards)
}

/// Has an agent of the role try a choice.
///
/// # Errors
/// No agent answers; the model does not work, in the agent's words.
pub async fn try_first(api: &mut Api, role: &Pool, run: &str, choice: &pb::ModelChoice) -> Result<(), Failure> {
    let request = pb::ProbeModelRequest {
        role: role.to_string(),
        run: run.to_owned(),
        choice: Some(choice.clone()),
    };
    let untried = "--no-probe skips this check";
    let probed = match api.probe_model(request).await {
        Ok(response) => response.into_inner().probed.unwrap_or_default(),
        Err(status) if refusal_reason(&status) == "NO_AGENT" => {
            let nobody = Failure::from(status);
            return Err(Failure::unavailable(nobody.message).hint(untried));
        }
        Err(status) => return Err(status.into()),
    };
    let place = format!("{}/{}", probed.endpoint, probed.model);
    if !probed.works {
        let message = format!(
            "{role} cannot use {}: {}",
            clean_line(&place),
            clean_line(&probed.words)
        );
        // Waiting does not help where the endpoint does not know the model, or refuses the key.
        let exit = if probed.refused { Exit::Usage } else { Exit::Unavailable };
        return Err(Failure::new(exit, message).hint(untried));
    }
    output::note(&format!(
        "{}: {} ({} ms)",
        clean_line(&place),
        clean_line(&probed.words),
        probed.took_ms
    ));
    Ok(())
}
