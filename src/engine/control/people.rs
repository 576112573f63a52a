//! Who is on the other end: names of users and groups, by the machine's own files.
//!
//! Directories beyond `/etc/passwd` and `/etc/group` are not asked: a look-up over the network could hang, and the number is recorded anyhow.

use std::fs;

use crate::model::actor::{Actor, Via};

/// Whom the kernel does not name to a process in a user namespace (`PrivateUsers=`).
const UNNAMED: u32 = 65_534;

/// Who runs this process, for a command that opens the store itself.
#[must_use]
pub fn myself() -> Actor {
    let uid = rustix::process::geteuid().as_raw();
    Actor { name: name_of(uid), uid: Some(uid), pid: Some(std::process::id()), via: Via::Direct, claims: claims() }
}

/// Whom `sudo` or `doas` names behind this process.
#[must_use]
pub fn claims() -> Option<String> {
    let named =
        ["SUDO_USER", "DOAS_USER"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))?;
    Some(clean(&named))
}

/// What a command says of who called it: a service in a user namespace of its own learns it from nobody else.
#[must_use]
pub fn caller() -> String {
    claims().unwrap_or_else(|| name_of(rustix::process::geteuid().as_raw()))
}

/// Of somebody who came over the socket.
#[must_use]
pub fn peer(uid: u32, pid: Option<u32>, claims: Option<&str>) -> Actor {
    let name = if uid == UNNAMED { "somebody".to_owned() } else { name_of(uid) };
    let claims = claims.map(clean).filter(|claims| *claims != name);
    Actor { name, uid: Some(uid), pid, via: Via::Socket, claims }
}

/// The user's name, else `uid N`.
#[must_use]
pub fn name_of(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&passwd, uid).unwrap_or_else(|| format!("uid {uid}"))
}

/// The group's number.
#[must_use]
pub fn group(name: &str) -> Option<u32> {
    id_in(&fs::read_to_string("/etc/group").ok()?, name)
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn id_in(group: &str, name: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next()? == name).then(|| parts.nth(1)?.parse().ok())?
    })
}

/// A name that somebody gave: short, and nothing that moves the cursor.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_number_and_groups_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n# a remark\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("anna"));
        assert_eq!(name_in(passwd, 1001), None);
        assert_eq!(id_in("root:x:0:\naml:x:990:anna,ben\n", "aml"), Some(990));
        assert_eq!(id_in("root:x:0:\naml:x:990:anna,ben\n", "anna"), None);
    }

    #[test]
    fn whom_the_kernel_does_not_name_is_known_by_what_the_command_says_only() {
        assert_eq!(peer(UNNAMED, Some(7), Some("anna")).to_string(), "somebody (says: anna)");
        let root = name_of(0);
        assert_eq!(peer(0, Some(7), Some(&root)).to_string(), root, "nothing is said twice");
        assert_eq!(peer(0, Some(7), Some("anna")).to_string(), format!("{root} (says: anna)"));
    }

    #[test]
    fn a_claimed_name_can_t_move_the_cursor() {
        assert_eq!(clean("anna\u{1b}[2J\nroot"), "anna[2Jroot");
        assert_eq!(clean(&"x".repeat(1_000)).len(), 64);
    }
}
