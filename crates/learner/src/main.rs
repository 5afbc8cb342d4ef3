//! The `sipdo-learner` process.

fn main() -> std::process::ExitCode {
    sipdo_agent::run(sipdo_domain::Role::Learner, || Ok(Box::new(sipdo_learner::Learner)))
}
