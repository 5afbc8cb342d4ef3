//! Words of a provider, made fit to show.

/// Most bytes of a provider's own words in a message of ours.
const DETAIL_BYTES: usize = 300;

/// Makes a provider's words fit to show: the key and anything that looks like one is taken out, URLs lose user and
/// query, control characters and runs of blanks become one blank, and the rest is cut at 300 bytes.
pub(crate) fn scrub(text: &str, key: Option<&str>) -> String {
    // Ample for a message, and bounds the work on a huge body.
    let text = clip(text, 16 * DETAIL_BYTES);
    let text = match key {
        Some(key) if !key.is_empty() => text.replace(key, "[redacted]"),
        _ => text,
    };
    let mut clean = String::with_capacity(text.len().min(DETAIL_BYTES));
    let mut after_bearer = false;
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !clean.is_empty() {
            clean.push(' ');
        }
        clean.push_str(&if after_bearer {
            "[redacted]".to_owned()
        } else {
            scrub_word(word)
        });
        after_bearer = word.to_ascii_lowercase().ends_with("bearer");
    }
    clip(&clean, DETAIL_BYTES)
}

/// The first `limit` bytes of `text`, cut between characters, with an ellipsis if something was cut.
pub(crate) fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut clipped = text.get(..end).unwrap_or_default().to_owned();
    clipped.push('…');
    clipped
}

/// Redacts what looks like a key in a word (providers echo parts of wrong keys), and trims a URL.
fn scrub_word(word: &str) -> String {
    const MARKS: [&str; 6] = ["sk-", "sk_", "AIza", "gsk_", "xai-", "nvapi-"];
    let bare = word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if bare.len() > 8 && MARKS.iter().any(|mark| bare.starts_with(mark)) {
        return "[redacted]".to_owned();
    }
    let Some((before, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest
        .split_once('/')
        .map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match path {
        Some(path) => format!("{before}://{host}/{path}"),
        None => format!("{before}://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_and_its_like_are_taken_out() {
        let said =
            "Incorrect API key provided: sk-proj-abc****wxyz (you sent 'canary-123') Authorization: Bearer tok.en";
        let shown = scrub(said, Some("canary-123"));
        assert!(
            !shown.contains("canary-123") && !shown.contains("sk-proj") && !shown.contains("tok.en"),
            "{shown}"
        );
        assert!(shown.contains("Incorrect API key provided"), "{shown}");
    }

    #[test]
    fn urls_lose_user_and_query() {
        assert_eq!(
            scrub("see https://me:pw@host.example/a/b?key=abc now", None),
            "see https://host.example/a/b now"
        );
    }

    #[test]
    fn long_and_multibyte_text_is_cut_between_characters() {
        let shown = scrub(&"é".repeat(10_000), None);
        assert!(shown.len() <= DETAIL_BYTES + '…'.len_utf8());
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn control_characters_cannot_forge_log_lines() {
        assert_eq!(scrub("a\r\nINFO all fine\u{1b}[2J", None), "a INFO all fine [2J");
    }
}
