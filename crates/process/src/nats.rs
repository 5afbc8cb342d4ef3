//! The flags that say how to reach NATS.

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use sipdo_bus::BusSettings;
use std::path::PathBuf;

/// How to reach NATS, by flag or environment. What is not given stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct NatsFlags {
    /// NATS servers, with commas between them [default: nats://127.0.0.1:4222]
    #[arg(long, value_name = "URL", env = "SIPDO_NATS_URL", hide_env_values = true)]
    pub nats_url: Option<String>,
    /// A NATS .creds file
    #[arg(long, value_name = "FILE", env = "SIPDO_NATS_CREDS", value_parser = path())]
    pub nats_creds: Option<PathBuf>,
    /// A file with the seed of a NATS nkey
    #[arg(long, value_name = "FILE", env = "SIPDO_NATS_NKEY", value_parser = path())]
    pub nats_nkey: Option<PathBuf>,
    /// A file with the certificate of the authority that signed the NATS server's
    #[arg(long, value_name = "FILE", env = "SIPDO_NATS_CA", value_parser = path())]
    pub nats_ca: Option<PathBuf>,
}

impl NatsFlags {
    /// Lays the flags over `settings`. A credential that is given replaces one of the other kind.
    ///
    /// # Errors
    /// What is wrong, in words for the user.
    pub fn apply(&self, settings: &mut BusSettings) -> Result<(), String> {
        if let Some(list) = &self.nats_url {
            settings.urls = nats_urls(list);
            if settings.urls.is_empty() {
                return Err("--nats-url names no server: write for example nats://localhost:4222".to_owned());
            }
        }
        let (creds, nkey) = (given(&self.nats_creds), given(&self.nats_nkey));
        if creds.is_some() || nkey.is_some() {
            (settings.credentials_file, settings.nkey_seed_file) = (creds, nkey);
        }
        settings.tls_ca_file = given(&self.nats_ca).or_else(|| settings.tls_ca_file.take());
        Ok(())
    }
}

/// A path that may be empty: a variable that is set to nothing counts as not set.
fn path() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn given(path: &Option<PathBuf>) -> Option<PathBuf> {
    path.clone().filter(|path| !path.as_os_str().is_empty())
}

/// The servers of a list with commas between them.
pub fn nats_urls(list: &str) -> Vec<String> {
    let urls = list.split(',').map(str::trim).filter(|url| !url.is_empty());
    urls.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(flags: &NatsFlags, mut settings: BusSettings) -> BusSettings {
        flags.apply(&mut settings).unwrap();
        settings
    }

    #[test]
    fn what_is_not_given_stays() {
        let before = BusSettings {
            nkey_seed_file: Some("seed".into()),
            tls_ca_file: Some("ca".into()),
            ..BusSettings::new("nats://a:1")
        };
        let after = applied(&NatsFlags::default(), before);
        assert_eq!(after.urls, ["nats://a:1"]);
        assert_eq!(after.nkey_seed_file, Some("seed".into()));
        assert_eq!(after.tls_ca_file, Some("ca".into()));
    }

    #[test]
    fn what_is_given_replaces_servers_and_credentials() {
        let flags = NatsFlags {
            nats_url: Some("nats://a:1, nats://b:2".into()),
            nats_creds: Some("mine.creds".into()),
            nats_ca: Some("ca".into()),
            nats_nkey: Some(PathBuf::new()),
        };
        let before = BusSettings {
            nkey_seed_file: Some("seed".into()),
            ..BusSettings::default()
        };
        let after = applied(&flags, before);
        assert_eq!(after.urls, ["nats://a:1", "nats://b:2"]);
        assert_eq!(
            (after.credentials_file, after.nkey_seed_file),
            (Some("mine.creds".into()), None)
        );
        assert_eq!(after.tls_ca_file, Some("ca".into()));
    }

    #[test]
    fn an_empty_list_of_servers_is_refused() {
        let flags = NatsFlags {
            nats_url: Some(" , ".into()),
            ..NatsFlags::default()
        };
        let problem = flags.apply(&mut BusSettings::default()).unwrap_err();
        assert!(problem.contains("--nats-url"), "{problem}");
    }
}
