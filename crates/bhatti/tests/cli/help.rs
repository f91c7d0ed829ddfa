//! The texts of `--help`.

use crate::fixture::Home;

#[test]
fn each_command_explains_itself() {
    let home = Home::new();
    let commands: &[&[&str]] = &[
        &["--help"],
        &["create", "-h"],
        &["list", "-h"],
        &["exec", "-h"],
        &["destroy", "-h"],
        &["snapshot", "-h"],
        &["snapshot", "create", "-h"],
        &["snapshot", "resume", "-h"],
        &["user", "create", "-h"],
        &["setup", "--help"],
        &["serve", "-h"],
        &["config", "-h"],
        &["completion", "-h"],
    ];
    let text: Vec<_> = commands.iter().map(|args| home.transcript(args)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn completion_scripts_name_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = home.run(&["completion", shell]);
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("snapshot") && script.contains("disk-size"),
            "{shell}"
        );
    }
}
