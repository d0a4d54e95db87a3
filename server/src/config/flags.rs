//! The settings as command-line flags, generated from the table.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use super::{CONFIG_FILE_VARIABLE, SETTINGS, Setting};

/// The settings that the command line gave, as text.
#[derive(Clone, Debug, Default)]
pub struct SettingFlags {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Flags and their values.
    pub values: Vec<(&'static Setting, String)>,
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .help(format!("TOML file with settings [env: {CONFIG_FILE_VARIABLE}]"));
        SETTINGS.iter().fold(command, |command, setting| command.arg(flag(setting))).arg(file)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let text = |id: &str| matches.get_one::<String>(id).cloned();
        let values = SETTINGS.iter().filter_map(|setting| Some((setting, text(setting.name)?))).collect();
        Ok(Self { file: text("config").map(PathBuf::from), values })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let help = format!("{} [env: {}] [default: {}]", setting.help, setting.variable(), setting.default);
    Arg::new(setting.name).long(setting.name).value_name(setting.value_name).help(help)
}
