//! What was live stands in, across a restart, for what a start finds broken; and only a configuration without a last good one ends it.

use std::fs;

use crate::support::{
    lines::{self, alarm, alerted, feed},
    service::{Place, until},
};

/// Alerts on persons of the list.
const LISTED: &str = r#"//! A watched person's identification failed.

const RULE = #{
    id: "E2E-700", title: "A watched person", on: ["identResult"], where: #{ personKey: #{ in_list: "watched" } },
    severity: "medium", send_to: ["archive", "letters"], subject: "watched {identId}",
};

const TESTS = [
    #{ name: "watched alerts", like: "identResult", set: #{ personKey: "PERS_X" }, lists: #{ watched: ["PERS_X"] }, expect: #{ alerts: 1 } },
    #{ name: "others do not", like: "identResult", expect: #{ alerts: 0 } },
];
"#;

fn place() -> Place {
    let place = lines::place();
    place.write("rules/listed.rhai", LISTED);
    place.write("rules/lists/watched.txt", "PERS_1\nPERS_2\nPERS_3\nPERS_4\nPERS_5\n");
    place.write("templates/alert/mail.txt", "first wording: {{ subject }}\n");
    let more = "[templates]\ndirectory = \"templates\"\n\n[channels.letters]\nkind = \"file\"\npath = \"letters\"\nfrom = \"redflag@redflag.test\"\nto = [\"kyc@redflag.test\"]\nclearance = \"personal\"\n";
    let text = fs::read_to_string(place.path("redflag.toml")).unwrap();
    place.write("redflag.toml", &format!("{text}\n{more}"));
    place
}

/// Waits for a letter with these words.
async fn letter(place: &Place, words: &str) {
    let letters = || {
        let entries = fs::read_dir(place.path("letters")).into_iter().flatten().map(|entry| entry.unwrap().path());
        entries.filter_map(|path| fs::read_to_string(path).ok()).collect::<Vec<_>>()
    };
    let missing = || format!("a letter with {words}; there are {:#?}; the log:\n{}", letters(), place.tail());
    until(missing, async || letters().iter().any(|text| text.contains(words)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_lists_and_configuration_that_are_broken_at_a_start_run_as_they_did() {
    let place = place();
    let good = fs::read_to_string(place.path("redflag.toml")).unwrap();
    let service = place.start().await;
    feed(&place, "PERS", 1..=1);
    letter(&place, "first wording: watched I1").await;
    assert!(service.stop().await.0.success());

    // All of them at once; the configuration is no TOML any more.
    place.write("templates/alert/mail.txt", "second wording:\n{{ subject }\n");
    fs::write(place.path("rules/lists/watched.txt"), b"PERS_1\nK\xf6ln\n").unwrap();
    place.write("redflag.toml", &format!("{good}\n[channels.letters\n"));
    for number in 2..=3 {
        let service = place.start().await;
        alarm(&place, "The configuration can't be used; the last good one is in force").await;
        let (code, screen, _) = place.command(&["status"]).await;
        assert!(code == 1 && screen.contains("! runs on its last good configuration"), "{screen}");
        alarm(&place, "The templates were refused").await;
        alarm(&place, "List lists/watched.txt was refused").await;
        feed(&place, "PERS", number..=number);
        letter(&place, &format!("first wording: watched I{number}")).await;
        assert!(service.stop().await.0.success());
    }
    alerted(&place, "E2E-700", &[1, 2, 3]).await;

    // Well formed, and impossible: a channel's authority is not there.
    let impossible = "\n[channels.mail]\nkind = \"email\"\nserver = \"smtps://127.0.0.1:1\"\nca_file = \"nowhere.pem\"\nfrom = \"a@redflag.test\"\nto = [\"b@redflag.test\"]\n";
    place.write("redflag.toml", &format!("{good}{impossible}"));
    let service = place.start().await;
    feed(&place, "PERS", 4..=4);
    alerted(&place, "E2E-700", &[1, 2, 3, 4]).await;
    assert!(service.stop().await.0.success());

    // The rules' folder is gone.
    place.write("redflag.toml", &good);
    fs::rename(place.path("rules"), place.path("elsewhere")).unwrap();
    let service = place.start().await;
    alarm(&place, "The rules' folder can't be read").await;
    feed(&place, "PERS", 5..=5);
    alerted(&place, "E2E-700", &[1, 2, 3, 4, 5]).await;
    assert!(service.stop().await.0.success());

    // Mended, everything is as it is written.
    fs::rename(place.path("elsewhere"), place.path("rules")).unwrap();
    place.write("rules/lists/watched.txt", "PERS_1\nPERS_2\nPERS_3\nPERS_4\nPERS_6\n");
    place.write("templates/alert/mail.txt", "third wording: {{ subject }}\n");
    let service = place.start().await;
    feed(&place, "PERS", 6..=6);
    letter(&place, "third wording: watched I6").await;
    assert!(service.stop().await.0.success());
}
