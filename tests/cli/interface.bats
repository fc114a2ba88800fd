# SPDX-License-Identifier: Apache-2.0
# Holds every tool to the one outside that r3tools(7) describes. What takes more than looking at the
# options of a tool is tried on the probe, in outside.bats.
load ../helper

tools() { for main in "$ROOT"/tools/*/main.cpp; do [[ ! -e $main ]] || basename "$(dirname "$main")"; done; }

complain() { # TOOL TEXT...: says it and makes the test fail at its end
  echo "$@" >&2
  failed=1
}

setup() { failed=0; }

# options_of TOOL METAVAR: the longest name of each option whose value is called METAVAR.
options_of() {
  "$BIN/$1" --print-options | awk -F'\t' -v metavar="$2" '$2 == metavar { sub(/.*,/, "", $1); print $1 }'
}

@test "interface: there are tools, and each is built" {
  [[ -n $(tools) ]]
  for tool in $(tools); do [[ -x $BIN/$tool ]] || complain "$tool is not built"; done
  ((failed == 0))
}

@test "interface: --help and -h print at most 80 columns on stdout, examples first" {
  for tool in $(tools); do
    for option in --help -h; do
      run --separate-stderr "$BIN/$tool" "$option"
      [[ $status == 0 ]] || complain "$tool $option: status $status"
      [[ -z $stderr ]] || complain "$tool $option: stderr: $stderr"
      [[ ${lines[0]} == "$tool: "* ]] || complain "$tool $option begins with ${lines[0]}"
      [[ ${lines[1]} == Examples: && ${lines[2]} == "  "*"$tool"* ]] || complain "$tool: no examples first"
      grep -qx "Usage: $tool .*" <<<"$output" || complain "$tool: no usage line"
      local long
      long=$(awk 'length > 80' <<<"$output")
      [[ -z $long ]] || complain "$tool: wider than 80 columns: $long"
    done
  done
  ((failed == 0))
}

@test "interface: --version and -V print the tool and its version" {
  for tool in $(tools); do
    for option in --version -V; do
      run --separate-stderr "$BIN/$tool" --nonsense "$option"
      [[ $status == 0 && -z $stderr && $output =~ ^$tool\ [0-9]+\.[0-9]+$ ]] ||
        complain "$tool $option: $status $output $stderr"
    done
  done
  ((failed == 0))
}

# refused TOOL ARGS...: exit 2, nothing on stdout, one line on stderr that may be followed by a hint.
refused() {
  local tool=$1
  run --separate-stderr timeout 10 "$BIN/$tool" "${@:2}" </dev/null
  [[ $status == 2 ]] || complain "$*: status $status"
  [[ -z $output ]] || complain "$*: stdout: $output"
  [[ ${stderr_lines[0]} == "$tool: "* ]] || complain "$*: stderr: $stderr"
  ((${#stderr_lines[@]} == 1)) || [[ ${stderr_lines[1]} == "$tool: hint: "* && ${#stderr_lines[@]} == 2 ]] ||
    complain "$*: ${#stderr_lines[@]} lines on stderr: $stderr"
}

# refused_value TOOL OPTION VALUE: the same, and the line names both.
refused_value() {
  refused "$1" "$2=$3"
  [[ ${stderr_lines[0]} == *"$2"*"$3"* ]] || complain "$*: does not name them: $stderr"
}

@test "interface: an unknown option is one line on stderr and exit 2" {
  for tool in $(tools); do
    refused "$tool" --no-such-option
    [[ $stderr == *'"--no-such-option"'* ]] || complain "$tool: $stderr"
    refused "$tool" -Ω
  done
  ((failed == 0))
}

@test "interface: every option with a value wants one" {
  for tool in $(tools); do
    while read -r option; do refused "$tool" "$option"; done < <(
      "$BIN/$tool" --print-options | awk -F'\t' '$1 ~ /^-/ && $2 != "" { sub(/.*,/, "", $1); print $1 }')
  done
  ((failed == 0))
}

@test "interface: every size, duration, number and descriptor refuses nonsense" {
  for tool in $(tools); do
    for option in $(options_of "$tool" SIZE); do
      for value in "" x 12Q 1.5K -1 99999999999999999999 99999999999T; do refused_value "$tool" "$option" "$value"; done
    done
    for option in $(options_of "$tool" TIME); do
      for value in "" x 5 5y -1s 99999999999999999999s; do refused_value "$tool" "$option" "$value"; done
    done
    for option in $(options_of "$tool" N); do
      for value in "" x -1 1.5 99999999999999999999; do refused_value "$tool" "$option" "$value"; done
    done
    for option in --ready-fd --events-fd; do refused_value "$tool" "$option" 77; done
  done
  ((failed == 0))
}

@test "interface: every tool has the common options" {
  for tool in $(tools); do
    for option in --help --version --verbose --quiet --json --events-fd --ready-fd --control --metrics --ask; do
      "$BIN/$tool" --print-options | cut -f1 | tr , '\n' | grep -qx -- "$option" || complain "$tool has no $option"
    done
  done
  ((failed == 0))
}

@test "interface: a full stdout is a failure" {
  for tool in $(tools); do
    for option in --help --version; do
      run bash -c '"$1" "$2" >/dev/full' - "$BIN/$tool" "$option"
      [[ $status == 1 ]] || complain "$tool $option: status $status"
    done
  done
  ((failed == 0))
}

# The names of all options that are defined (".It Fl"), not only spoken of, in the page of a tool.
options_in_page() {
  awk '/^\.It Fl / {
    dashes = ""
    for (i = 2; i <= NF; ++i) {
      if ($i == "Fl") dashes = $(i - 1) == "Fl" ? "--" : "-"
      else if ($i ~ /^[A-Z][a-z]$/) dashes = ""
      else if ($i != "," && dashes != "") print dashes $i
    }
  }' "$1" | sort -u
}

@test "interface: every option is in the man page, and the other way round" {
  local common
  common=$(options_in_page "$ROOT/man/r3tools.7")
  for tool in $(tools); do
    local page=$ROOT/man/$tool.1 has
    [[ -e $page ]] || { complain "$tool has no man page"; continue; }
    has=$("$BIN/$tool" --print-options | cut -f1 | tr , '\n' | grep '^-' | sort -u)
    # The options common to all are in r3tools(7); a page may repeat them.
    for option in $has; do
      grep -qx -- "$option" <(options_in_page "$page"; echo "$common") || complain "$tool: $option is not in its man page"
    done
    for option in $(options_in_page "$page"); do
      grep -qx -- "$option" <<<"$has" || complain "$page: $option is no option of $tool"
    done
  done
  for option in $common; do
    "$BIN/tests/cli/probe" --print-options | cut -f1 | tr , '\n' | grep -qx -- "$option" ||
      complain "r3tools.7: $option is not common to all tools"
  done
  ((failed == 0))
}

@test "interface: every argument is in the synopsis of the man page" {
  for tool in $(tools); do
    local page=$ROOT/man/$tool.1
    while read -r name; do
      grep -q "Ar ${name%...}" "$page" || complain "$page: no $name"
      # COMMAND is one of several words, which the page names instead.
  done < <("$BIN/$tool" --print-options | cut -f1 | grep -vE '^-|^COMMAND$')
  done
  ((failed == 0))
}

@test "interface: the completions are those of the options" {
  scripts=$ROOT/scripts/gen-completions
  BIN=$BIN "$scripts" "$BATS_TEST_TMPDIR/fresh"
  diff -r "$ROOT/completions" "$BATS_TEST_TMPDIR/fresh" || {
    echo "stale: run make completions" >&2
    return 1
  }
}

@test "interface: bash completes options and files" {
  for tool in $(tools); do
    bash -c '
      source "$1/completions/bash/$2" || exit 1
      cd "$3" && touch "some file"
      COMP_WORDS=("$2" --events) COMP_CWORD=1
      "_${2//-/_}" && [[ ${COMPREPLY[*]} == --events-fd ]] || exit 1
      COMP_WORDS=("$2" --control so) COMP_CWORD=2
      "_${2//-/_}" && [[ ${COMPREPLY[*]} == "some file" ]]
    ' - "$ROOT" "$tool" "$BATS_TEST_TMPDIR" || complain "$tool: bash does not complete"
  done
  ((failed == 0))
}

@test "interface: zsh takes the completions" {
  need zsh command -v zsh
  for tool in $(tools); do
    zsh -n "$ROOT/completions/zsh/_$tool" || complain "$tool: zsh -n"
    run zsh -fc "autoload -Uz compinit; fpath=($ROOT/completions/zsh \$fpath)
                 compinit -u -d $BATS_TEST_TMPDIR/dump; echo \$_comps[$tool]"
    [[ $output == "_$tool" ]] || complain "$tool: zsh does not load it: $output"
  done
  ((failed == 0))
}

@test "interface: fish completes options" {
  need fish command -v fish
  for tool in $(tools); do
    run fish --no-config -c "source $ROOT/completions/fish/$tool.fish; complete -C '$tool --events'"
    [[ $output == --events-fd* ]] || complain "$tool: fish does not complete: $output"
  done
  ((failed == 0))
}
