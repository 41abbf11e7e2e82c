//! The simulation and the model checker: the operator's own decisions, reconciles and poll schedule, against a CodePipeline in
//! memory. This crate contains only tests.

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod model_check;
#[cfg(test)]
mod random;
