//! How much of a test is run: the quick part by `make test`, all of it by `make faults`.

/// The quick measure, or that of `make faults`, which sets `FAULTS=all`.
pub fn scale<T>(quick: T, all: T) -> T {
    if std::env::var_os("FAULTS").is_some_and(|value| value == "all") { all } else { quick }
}
