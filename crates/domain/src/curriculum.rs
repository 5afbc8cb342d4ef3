//! The order of difficulty (SIPDO section 3.1: `c_1 < ... < c_n`).

use serde::{Deserialize, Serialize};

/// How difficulty goes from one step to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Curriculum {
    /// Step t is written at level t: the method.
    #[default]
    Gradient,
    /// Every step is written at the middle level: the ablation "no difficulty gradient".
    Constant,
    /// Every step asks for the most unusual example: the ablation "one-shot extremes".
    Extremes,
}

impl Curriculum {
    /// The level of a step; both count from 1, and what lies outside 1..=`max` is brought inside.
    pub fn level(self, step: u32, max: u32) -> u32 {
        let max = max.max(1);
        match self {
            Curriculum::Gradient => step.clamp(1, max),
            Curriculum::Constant => max.div_ceil(2),
            Curriculum::Extremes => max,
        }
    }

    /// Whether the generator is asked for the most unusual example instead of one at a level.
    pub fn extreme(self) -> bool {
        self == Curriculum::Extremes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_gradient_rises_by_one_and_the_ablations_stand_still() {
        let levels = |curriculum: Curriculum| (1..=5).map(|step| curriculum.level(step, 5)).collect::<Vec<_>>();
        assert_eq!(levels(Curriculum::Gradient), [1, 2, 3, 4, 5]);
        assert_eq!(levels(Curriculum::Constant), [3, 3, 3, 3, 3]);
        assert_eq!(levels(Curriculum::Extremes), [5, 5, 5, 5, 5]);
        assert!(Curriculum::Extremes.extreme() && !Curriculum::Gradient.extreme());
    }

    proptest! {
        #[test]
        fn levels_stay_in_range_and_never_fall(step in 0u32..1000, max in 0u32..100) {
            for curriculum in [Curriculum::Gradient, Curriculum::Constant, Curriculum::Extremes] {
                let level = curriculum.level(step, max);
                prop_assert!((1..=max.max(1)).contains(&level));
                prop_assert!(curriculum.level(step + 1, max) >= level);
            }
        }
    }
}
