//! The `sipdo-optimizer` process.

fn main() -> std::process::ExitCode {
    sipdo_agent::run(sipdo_domain::Role::Optimizer, || {
        Ok(Box::new(sipdo_optimizer::Optimizer::new()))
    })
}
