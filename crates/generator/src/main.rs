//! The `sipdo-generator` process.

fn main() -> std::process::ExitCode {
    sipdo_agent::run(sipdo_domain::Role::Generator, || {
        Ok(Box::new(sipdo_generator::Generator::new()?))
    })
}
