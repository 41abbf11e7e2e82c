//! The size of a test: small in `make test`, full in `make faults`.

/// Returns `quick`, or `all` if `FAULTS=all` is set, as `make faults` does.
pub fn scale<T>(quick: T, all: T) -> T {
    if std::env::var_os("FAULTS").is_some_and(|value| value == "all") { all } else { quick }
}
