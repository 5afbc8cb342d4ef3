//! Which columns a mapping names: only those of a Parquet file are decoded.

use regex::Regex;
use std::sync::LazyLock;

/// Names and sources of templates.
#[derive(Debug, Default, Clone)]
pub(crate) struct Uses {
    /// Names of columns.
    pub names: Vec<String>,
    /// Templates and expressions.
    pub sources: Vec<String>,
    /// Every column, for a look at the file.
    pub all: bool,
}

/// `row` without a name behind it: then every column is meant.
static WHOLE_ROW: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|[^\w.])row\s*(?:[^\w\s.\[]|$|\s\w)").ok());

impl Uses {
    /// Whether a column of this name may be used: one too many is decoded rather than one too few.
    pub fn names(&self, column: &str) -> bool {
        self.all
            || self.names.iter().any(|name| name == column)
            || self.sources.iter().any(|source| {
                let whole = WHOLE_ROW.as_ref().is_some_and(|pattern| pattern.is_match(source));
                whole
                    || words(source).any(|word| word == column)
                    || source.contains(&format!("\"{column}\""))
                    || source.contains(&format!("'{column}'"))
            })
    }
}

/// The names in a template's source.
pub(super) fn words(source: &str) -> impl Iterator<Item = &str> {
    source
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_used_where_it_is_named() {
        let uses = |source: &str| Uses {
            sources: vec![source.into()],
            ..Uses::default()
        };
        assert!(uses("{{ a.b }}").names("a") && !uses("{{ ab }}").names("a"));
        assert!(
            uses("{{ row[\"Best Answer\"] }}").names("Best Answer") && !uses("{{ row[\"Best Answer\"] }}").names("x")
        );
        assert!(!uses("{{ row.a }}").names("x") && !uses("{{ arrow }}").names("x"));
        for whole in ["{{ row }}", "{{row|tojson}}", "{% for c in row %}{% endfor %}"] {
            assert!(uses(whole).names("x"), "{whole}");
        }
    }
}
