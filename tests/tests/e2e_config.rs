//! Broken configurations are refused by the daemon itself, and change nothing.

use gateway_tests::scenarios::broken_configs;

#[test]
fn broken_configurations_get_one_clear_error_and_change_nothing() {
    let seen = broken_configs::run();
    assert!(seen.problems.is_empty(), "{}", seen.problems.join("\n"));
    assert_eq!(seen.refused, seen.cases);
    assert!(seen.cases >= 60, "only {} cases", seen.cases);
}
