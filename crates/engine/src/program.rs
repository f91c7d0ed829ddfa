//! What a new machine runs by itself: the words of its image, and those of whoever makes it.

use bhatti_image::image::Image;
use bhatti_image::image_config::ImageConfig;
use bhatti_types::invalid::Invalid;
use bhatti_types::run::{Init, RunSpec, StopSignal};

use crate::request::NewRun;

/// The label by which an image says what is to be process 1: `systemd` or `lohar`.
const LABEL: &str = "bhatti.init";
/// Programs that are an init, and systemd in the images that there are.
const INITS: [&str; 5] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
    "/bin/systemd",
];

/// What process 1 of a machine of this image is, and the program that it keeps running.
pub(crate) fn of(
    image: &Image,
    init: Option<Init>,
    run: Option<&NewRun>,
) -> Result<(Init, Option<RunSpec>), Invalid> {
    let config = &image.config;
    let init = init.unwrap_or_else(|| init_of(config));
    let Some(run) = run else {
        return Ok((init, None));
    };
    let argv = argv(config, run);
    if init == Init::Systemd && is_init(&argv) {
        // That runs already.
        return Ok((init, None));
    }
    if argv.is_empty() {
        return Err(Invalid::new(
            "program to run",
            "",
            format!("image {} names none; give one after `--`", image.name),
        ));
    }
    let signal = match &config.stop_signal {
        Some(text) => text.parse()?,
        None => StopSignal::TERM,
    };
    Ok((init, Some(RunSpec::new(argv, run.restart, signal)?)))
}

/// What an image says, or means by what it runs.
pub(crate) fn init_of(config: &ImageConfig) -> Init {
    match config.labels.get(LABEL).map(String::as_str) {
        Some("systemd") => return Init::Systemd,
        Some("lohar") => return Init::Lohar,
        Some(_) | None => {}
    }
    if config.init == Init::Systemd || is_init(&argv(config, &NewRun::default())) {
        Init::Systemd
    } else {
        Init::Lohar
    }
}

/// Program and arguments, put together as container runtimes do it.
fn argv(config: &ImageConfig, run: &NewRun) -> Vec<String> {
    let (entrypoint, cmd) = match &run.entrypoint {
        Some(entrypoint) => (entrypoint, &run.cmd),
        None if run.cmd.is_empty() => (&config.entrypoint, &config.cmd),
        None => (&config.entrypoint, &run.cmd),
    };
    entrypoint.iter().chain(cmd).cloned().collect()
}

fn is_init(argv: &[String]) -> bool {
    argv.first()
        .is_some_and(|program| INITS.contains(&program.as_str()))
}

#[cfg(test)]
mod test {
    use bhatti_image::image_config::ImageConfig;
    use bhatti_types::run::Init;

    use super::{argv, init_of};
    use crate::request::NewRun;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn config(entrypoint: &str, cmd: &str) -> ImageConfig {
        ImageConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..ImageConfig::default()
        }
    }

    #[test]
    fn words_of_the_image_and_of_the_caller_go_together_as_containers_have_it() {
        let run = |entrypoint: Option<&str>, cmd: &str| NewRun {
            entrypoint: entrypoint.map(words),
            cmd: words(cmd),
            ..NewRun::default()
        };
        let image = config("web", "-p 80");
        for (entrypoint, cmd, expected) in [
            (None, "", "web -p 80"),
            (None, "-p 81", "web -p 81"),
            (Some("sh"), "", "sh"),
            (Some("sh -c"), "true", "sh -c true"),
            (Some(""), "true", "true"),
        ] {
            assert_eq!(argv(&image, &run(entrypoint, cmd)), words(expected));
        }
        assert_eq!(argv(&config("", "sh"), &run(None, "")), words("sh"));
    }

    #[test]
    fn an_image_says_by_itself_that_systemd_is_to_be_its_init() {
        assert_eq!(init_of(&config("", "bash")), Init::Lohar);
        assert_eq!(init_of(&config("", "/sbin/init")), Init::Systemd);
        assert_eq!(init_of(&config("/lib/systemd/systemd", "")), Init::Systemd);
        let said = ImageConfig {
            init: Init::Systemd,
            ..ImageConfig::default()
        };
        assert_eq!(init_of(&said), Init::Systemd);
        let labelled = |value: &str, config: ImageConfig| ImageConfig {
            labels: [("bhatti.init".to_owned(), value.to_owned())].into(),
            ..config
        };
        let systemd = labelled("systemd", config("", "bash"));
        assert_eq!(init_of(&systemd), Init::Systemd);
        let lohar = labelled("lohar", config("", "/sbin/init"));
        assert_eq!(init_of(&lohar), Init::Lohar);
    }
}
