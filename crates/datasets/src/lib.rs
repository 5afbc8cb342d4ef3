//! sipdo-datasets.
