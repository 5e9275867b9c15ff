use super::*;

#[test]
fn the_embedded_table_loads() {
    assert!(table::builtin().programs().count() >= 60);
}
