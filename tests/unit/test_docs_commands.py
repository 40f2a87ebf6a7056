"""The documents and the program say the same: commands, examples, settings, profile keys."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from connectors.room import MARGIN
from flows.cli import app
from flows.settings import SPEC
from pipeline.guards import _SENTENCES
from pipeline.run import SPOOL_BYTES
from pipeline.session import LEDGER_BYTES
from schemas.profile import Profile, Section

ROOT = Path(__file__).resolve().parents[2]
CLICK = typer.main.get_command(app)
COMMANDS = dict(CLICK.commands)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def examples_in_help() -> list[str]:
    return [
        line.strip()
        for command in COMMANDS.values()
        for line in (command.epilog or "").splitlines()
        if line.strip().startswith("meterfeed ")
    ]


def examples_in_pages() -> list[str]:
    """Every `meterfeed …` line of a code block, with or without a prompt, settings before it left out."""
    found = []
    for page in PAGES:
        for block in re.findall(
            r"^```(?:console|sh|bash|text)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            lines = re.sub(r"\\\n", " ", block).splitlines()
            found += [re.sub(r"^\$ ", "", line) for line in lines if re.match(r"(\$ )?meterfeed ", line)]
    return found


def parse(line: str) -> None:
    """Parse a command line as the program does, without running it."""
    words = shlex.split(line, comments=True)[1:]
    if words[0].startswith("-"):
        return
    command = COMMANDS[words[0]]
    with command.make_context(words[0], words[1:]):
        pass


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_what_it_does_and_gives_an_example(name):
    assert COMMANDS[name].help
    assert f"meterfeed {name}" in (COMMANDS[name].epilog or "")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("sync", "--approve"),
        ("sync", "--delete-vanished"),
        ("serve", "--save-account"),
        ("adopt", "--afresh"),
        ("work", "--partition"),
    ],
)
def test_an_option_that_is_looked_for_at_night_has_an_example(name, option):
    assert f" {option}" in COMMANDS[name].epilog


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_prints_json(name):
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_readme(name):
    assert f"meterfeed {name}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("line", sorted({*examples_in_help(), *examples_in_pages()}))
def test_every_example_can_be_parsed(line):
    parse(line)


def test_a_wrong_example_would_be_found():
    with pytest.raises(typer.TyperException):
        parse("meterfeed sync --no-such-option")


@pytest.mark.parametrize("line", sorted(examples_in_help()))
def test_files_named_in_help_exist(line):
    for word in shlex.split(line):
        if word.startswith("data/"):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("setting", SPEC, ids=lambda setting: setting.name)
def test_every_setting_is_documented(setting):
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert f"| `{setting.name}` |" in text
    assert (f"`{setting.file_name}`" in text) == setting.from_file


def test_the_documented_room_on_the_disk_is_what_a_run_asks_for():
    text = (ROOT / "docs" / "configuration.md").read_text().replace("\n", " ")
    assert f"{SPOOL_BYTES:,} bytes of a row in the data directory" in text
    assert f"and {LEDGER_BYTES} in an SQLite ledger, and {MARGIN >> 20} MiB to spare" in text


def test_no_setting_is_documented_that_does_not_exist():
    text = "".join(page.read_text() for page in PAGES)
    known = {setting.name for setting in SPEC} | {setting.file_name for setting in SPEC if setting.from_file}
    assert set(re.findall(r"METERFEED_[A-Z_]*[A-Z]", text)) <= known


def profile_keys() -> list[tuple[str, str]]:
    """Section and key of everything a profile may say; tables of free keys are named by their section."""
    keys = []
    for name, field in Profile.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            keys += [(name, key) for key in section.model_fields if name != "values"]
        elif name != "keep":
            keys.append(("", name))
    return keys


def section_of_page(name: str) -> str:
    text = (ROOT / "docs" / "profiles.md").read_text()
    heading = f"## `[{name}]`" if name else "## Top of the file"
    return text.split(heading, 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize(("section", "key"), profile_keys())
def test_every_profile_key_is_documented(section, key):
    assert re.search(rf"^\|[^|]*`{key}`", section_of_page(section), re.MULTILINE)


@pytest.mark.parametrize(
    ("key", "default"), sorted(Profile.model_fields["guards"].default.model_dump().items())
)
def test_the_documented_default_of_a_guard_is_its_default(key, default):
    (row,) = [line for line in section_of_page("guards").splitlines() if line.startswith(f"| `{key}` |")]
    assert float(row.split("|")[-2].strip(" `")) == default


def guards() -> set[str]:
    """Every name under which a guard stops something."""
    sources = [path.read_text() for path in sorted((ROOT / "pipeline").rglob("*.py"))]
    return {name for text in sources for name in re.findall(r'guard="(\w+)"', text)} | set(_SENTENCES)


@pytest.mark.parametrize("name", sorted(guards()))
def test_the_runbook_says_what_to_do_about_every_guard(name):
    page = (ROOT / "docs" / "runbook.md").read_text()
    section = page.partition("\n## A guard stopped it\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert 1 == sum(f"*{name}*" in row.split("|")[1] for row in rows)


def test_the_profile_in_the_document_is_one():
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "profiles.md").read_text(), re.DOTALL)
    assert Profile.from_toml(block, "docs").name == "nordkraft"


@pytest.mark.parametrize(
    "decision", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda path: path.stem
)
def test_every_decision_names_a_test_that_exists(decision):
    last = decision.read_text().strip().rsplit("\n\n", 1)[1]
    named = re.findall(r"`(tests/[a-z_/]+\.py)`", last)
    assert last.startswith("Guarded by")
    assert named
    assert all((ROOT / path).exists() for path in named)
