//! The `sipdo-checker` process.

fn main() -> std::process::ExitCode {
    sipdo_agent::run(sipdo_domain::Role::Checker, || {
        Ok(Box::new(sipdo_checker::Checker::new()?))
    })
}
