//! Values as people read them: three figures and a unit.

use crate::results::Unit;

/// A value with its unit.
pub(crate) fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => seconds(value),
        Unit::Bytes => bytes(value),
    }
}

/// A time.
pub(crate) fn seconds(value: f64) -> String {
    match value.abs() {
        below if below < 1e-3 => with_unit(value * 1e6, "µs"),
        below if below < 1.0 => with_unit(value * 1e3, "ms"),
        _ => with_unit(value, "s"),
    }
}

/// A size, in units of 1024.
fn bytes(value: f64) -> String {
    const KIB: f64 = 1024.0;
    match value.abs() {
        below if below < KIB => format!("{value:.0} B"),
        below if below < KIB * KIB => with_unit(value / KIB, "KiB"),
        below if below < KIB * KIB * KIB => with_unit(value / (KIB * KIB), "MiB"),
        _ => with_unit(value / (KIB * KIB * KIB), "GiB"),
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        below if below < 10.0 => 2,
        below if below < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A ratio.
pub(crate) fn ratio(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".to_owned(),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod test {
    use super::{ratio, seconds, show};
    use crate::results::Unit;

    #[test]
    fn values_have_three_figures_and_the_unit_that_suits_them() {
        assert_eq!(seconds(0.000_034_2), "34.2 µs");
        assert_eq!(seconds(0.012_345), "12.3 ms");
        assert_eq!(seconds(0.345), "345 ms");
        assert_eq!(seconds(3.456), "3.46 s");
        assert_eq!(seconds(0.0), "0.00 µs");
        assert_eq!(show(512.0, Unit::Bytes), "512 B");
        assert_eq!(show(62.0 * 1024.0, Unit::Bytes), "62.0 KiB");
        assert_eq!(
            show(1.5 * 1024.0 * 1024.0 * 1024.0, Unit::Bytes),
            "1.50 GiB"
        );
    }

    #[test]
    fn a_ratio_that_is_none_is_a_dash() {
        assert_eq!(ratio(1.2345), "1.23");
        assert_eq!(ratio(12.345), "12.3");
        assert_eq!(ratio(1234.0), "1234");
        assert_eq!(ratio(f64::NAN), "-");
    }
}
