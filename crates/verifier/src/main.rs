//! The `sipdo-verifier` process.

fn main() -> std::process::ExitCode {
    sipdo_agent::run(sipdo_domain::Role::Verifier, || {
        Ok(Box::new(sipdo_verifier::Verifier::new()?))
    })
}
