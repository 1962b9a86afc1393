//! `usher completions` and `usher man`: what a shell and a manual say of the command line, made of its definition.

use super::{Cli, Common, Exit, Outcome, output};
use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs;
use std::io;
use std::path::Path;

/// The script that completes commands in a shell.
pub(super) fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "usher", &mut script);
    output::bytes(&script)
}

/// The manual page of the whole, or in a folder one for each command.
pub(super) fn man(common: &Common, folder: Option<&Path>) -> Outcome {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page).map_err(|e| Exit::Refused(e.to_string()))?;
        return output::bytes(&page);
    };
    let fail = |e: io::Error| Exit::Refused(format!("cannot write manual pages into {}: {e}", folder.display()));
    fs::create_dir_all(folder).map_err(fail)?;
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut files = Vec::new();
    write_pages(&root, folder, &mut files).map_err(fail)?;
    files.sort();
    if common.json { output::items(&files) } else { output::lines(&files) }
}

fn write_pages(command: &clap::Command, folder: &Path, files: &mut Vec<String>) -> io::Result<()> {
    command.get_subcommands().try_for_each(|command| write_pages(command, folder, files))?;
    files.push(Man::new(command.clone()).generate_to(folder)?.display().to_string());
    Ok(())
}
