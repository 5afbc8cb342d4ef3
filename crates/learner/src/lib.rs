//! sipdo-learner.
