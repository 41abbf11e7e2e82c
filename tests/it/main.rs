//! Runs the operator's binary against a real kube-apiserver and local-codepipeline.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod admission;
mod alerts;
mod arns;
mod bindings;
mod check;
mod clock_skew;
mod crash;
mod documentation;
mod faults;
mod fuzz;
mod generated;
mod gitops;
mod gitops_controllers;
mod identity;
mod installation;
mod layers;
mod lifecycle;
mod observability;
mod outcomes;
mod policy;
mod proxies;
mod random_operations;
mod rbac;
mod rejections;
mod replicas;
mod requests;
mod responses;
mod rotation;
mod start;
mod targets;
mod traces;
mod visibility;
mod waiting;
mod watch;
