//! Whether this build and this processor fit.
//!
//! The kernels are chosen when the program is compiled. A build with AVX2 dies of an illegal
//! instruction on a processor without it, and a build without AVX2 is several times slower than it
//! need be; neither says so by itself.

use crate::EngineError;

/// Checks that the processor has what the program was compiled for.
///
/// Call it before anything else. It reads what Linux says of the processor; on other systems, where
/// there is no such file, it finds nothing to object to.
///
/// # Errors
/// [`EngineError::MissingCpuFeature`] names what is missing.
pub fn check_cpu() -> Result<(), EngineError> {
    // `is_x86_feature_detected!` is no help here: it is `true` at compile time in such a build.
    let needed: &[&str] =
        if cfg!(target_feature = "avx2") { &["avx2", "fma", "f16c", "bmi2"] } else { &[] };
    let Ok(cpuinfo) = std::fs::read_to_string("/proc/cpuinfo") else {
        return Ok(());
    };
    check_flags(needed, &cpuinfo)
}

/// The instruction set that the processor has and this build does not use, if any: worth a warning,
/// as generation is then several times slower than it could be.
pub fn missing_kernels() -> Option<&'static str> {
    #[cfg(all(target_arch = "x86_64", not(target_feature = "avx2")))]
    if std::arch::is_x86_feature_detected!("avx2") {
        return Some("AVX2");
    }
    None
}

fn check_flags(needed: &[&str], cpuinfo: &str) -> Result<(), EngineError> {
    let Some(flags) = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")) else {
        return Ok(());
    };
    let missing: Vec<_> = needed
        .iter()
        .filter(|flag| !flags.split_whitespace().any(|has| has == **flag))
        .map(|flag| flag.to_uppercase())
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(EngineError::MissingCpuFeature { missing: missing.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_avx2_is_named_as_such() {
        let old = "processor: 0\nflags\t\t: fpu sse4_2 avx f16c\n";
        let error = check_flags(&["avx2", "f16c"], old).unwrap_err().to_string();
        assert!(error.contains("AVX2") && !error.contains("F16C"), "{error}");
    }

    #[test]
    fn a_processor_with_everything_passes() {
        check_flags(&["avx2"], "flags : avx avx2 fma\n").unwrap();
    }

    #[test]
    fn an_unknown_format_is_no_objection() {
        check_flags(&["avx2"], "Features : neon\n").unwrap();
    }

    #[test]
    fn the_processor_that_runs_this_test_passes() {
        check_cpu().unwrap();
    }
}
