//! The verbs that ask, test and try the safety rules, and check the history, as the real binary.

mod explain;
mod history;
mod learned;
mod people;
mod reload;
mod schema;
mod testing;

use crate::support::binary::Home;

/// The shipped rules and runbooks over two hosts and their services.
fn home() -> Home {
    let home = Home::new();
    std::fs::create_dir(home.folder.join("config")).unwrap();
    for file in ["watchkeeper.yaml", "runbooks.yaml"] {
        let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file);
        std::fs::copy(shipped, home.folder.join("config").join(file)).unwrap();
    }
    home.write("config/safety_rules.yaml", &crate::support::shipped_rules());
    home.write("config/inventory.yaml", INVENTORY);
    home
}

const INVENTORY: &str = "
hosts:
  - name: db1
    class: database
    allow: [restart_service]
  - name: web1
    addresses: [10.0.0.1]
    class: web
    reach: local
    allow: [restart_service, clean_disk_space]
    clean_roots: [/var/log/nginx]
services:
  - { name: nginx, aliases: [web], class: web, hosts: [web1], allow: [restart_service] }
  - { name: postgresql, class: database, hosts: [db1], allow: [restart_service] }
";
