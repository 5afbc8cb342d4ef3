//! Where a request may go: the checks that keep a base URL from reaching what it must not (SSRF), made when the
//! configuration is read and, for names, again at each connection, after the name has been resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Parses a base URL and refuses what is wrong with it on its face.
///
/// The URL parser has already turned decimal, octal and hexadecimal forms of an IPv4 address into the dotted one.
pub(crate) fn check_url(text: &str, allow_insecure: bool) -> Result<Url, String> {
    // The text itself is not repeated: it may hold a password.
    let url =
        Url::parse(text.trim()).map_err(|error| format!("is not a URL ({error}); write it as https://host/v1"))?;
    let plain = match url.scheme() {
        "https" => false,
        "http" => true,
        other => return Err(format!("must begin with http:// or https://, not {other}:")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password; give the key by api_key_env or api_key_file".to_owned());
    }
    if url.fragment().is_some() {
        return Err("must have no # part".to_owned());
    }
    if let Some(address) = literal_address(&url) {
        check_address(address, plain && !allow_insecure)?;
    }
    Ok(url)
}

/// The address in a URL whose host is one, not a name.
fn literal_address(url: &Url) -> Option<IpAddr> {
    url.host_str()?
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Whether `address` may be connected to; `private_only` when what we send is not encrypted.
fn check_address(address: IpAddr, private_only: bool) -> Result<(), String> {
    if is_forbidden(address) {
        return Err(format!(
            "leads to {address}, a metadata, link-local or unusable address, which is never allowed"
        ));
    }
    if private_only && !is_private(address) {
        return Err(format!(
            "would send keys and prompts unencrypted to the public address {address}; use https, or set allow_insecure = true"
        ));
    }
    Ok(())
}

/// Resolves names and lets only permitted addresses through, so that a name cannot be pointed elsewhere later.
pub(crate) struct Guard {
    pub(crate) private_only: bool,
}

/// What [`Guard`] refuses with; found again in the chain of causes of the HTTP client's error.
#[derive(Debug, thiserror::Error)]
#[error("base_url's host {host} {problem}")]
pub(crate) struct AddressRefused {
    host: String,
    problem: String,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let private_only = self.private_only;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let mut refused = None;
            let mut allowed = Vec::with_capacity(found.len());
            for address in found {
                match check_address(address.ip(), private_only) {
                    Ok(()) => allowed.push(address),
                    Err(problem) => refused = Some(problem),
                }
            }
            match refused {
                Some(problem) if allowed.is_empty() => Err(AddressRefused { host, problem }.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Cloud metadata services outside the link-local range: Alibaba, Azure, Oracle.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// AWS's metadata service over IPv6.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn is_forbidden(address: IpAddr) -> bool {
    match embedded_v4(address) {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || METADATA_V4.contains(&v4)
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast() || v6 == METADATA_V6,
    }
}

fn is_private(address: IpAddr) -> bool {
    match embedded_v4(address) {
        IpAddr::V4(v4) => {
            // 100.64/10 is shared address space: overlay networks such as Tailscale.
            let [a, b, ..] = v4.octets();
            v4.is_loopback() || v4.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

/// The IPv4 address inside an IPv6 one that only wraps it (mapped, compatible, NAT64), else the address itself.
fn embedded_v4(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return v4.into();
    }
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let tail = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    let nat64 = [a, b, c, d, e, f] == [0x64, 0xff9b, 0, 0, 0, 0];
    let compatible = [a, b, c, d, e, f] == [0; 6] && g != 0;
    if nat64 || compatible { tail.into() } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_addresses_are_refused_in_every_spelling() {
        for url in [
            "http://169.254.169.254/v1",
            "https://169.254.169.254/v1",
            "http://2852039166/v1",
            "http://0xa9fea9fe/v1",
            "http://0251.0376.0251.0376/v1",
            "http://[::ffff:169.254.169.254]/v1",
            "http://[64:ff9b::a9fe:a9fe]/v1",
            "http://[fd00:ec2::254]/v1",
            "http://[fe80::1]/v1",
            "http://100.100.100.200/v1",
            "http://0.0.0.0:8000/v1",
        ] {
            let said = check_url(url, true).unwrap_err();
            assert!(said.contains("never allowed"), "{url}: {said}");
        }
    }

    #[test]
    fn plain_http_is_for_private_addresses() {
        for url in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://10.1.2.3",
            "http://192.168.0.9",
            "http://100.64.0.7",
        ] {
            assert!(check_url(url, false).is_ok(), "{url}");
        }
        let said = check_url("http://8.8.8.8/v1", false).unwrap_err();
        assert!(said.contains("allow_insecure"), "{said}");
        assert!(check_url("http://8.8.8.8/v1", true).is_ok());
        assert!(check_url("https://8.8.8.8/v1", false).is_ok());
    }

    #[test]
    fn other_schemes_and_passwords_are_refused_without_being_repeated() {
        assert!(check_url("file:///etc/passwd", true).is_err());
        assert!(check_url("localhost:11434", true).is_err());
        let said = check_url("https://me:canary@host.example/v1", true).unwrap_err();
        assert!(!said.contains("canary"), "{said}");
    }

    #[tokio::test]
    async fn a_name_is_checked_after_it_is_resolved() {
        let resolve = |private_only| Guard { private_only }.resolve("localhost".parse().unwrap());
        assert!(resolve(true).await.is_ok());
        assert!(check_address("93.184.216.34".parse().unwrap(), true).is_err());
    }
}
