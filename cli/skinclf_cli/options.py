"""Options that several commands share, each made in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from skinclf.models.options import HubOptions, ModelOptions
from skinclf_cli.help import SECTION
from skinclf_cli.types import Codes, Device, InputSize, LabelMapping, Numbers

if TYPE_CHECKING:
    from skinclf.tables.reference import LabelOptions

_Command = TypeVar("_Command", bound="Callable[..., Any]")

#: Existing table, list or folder.
EXISTING = click.Path(path_type=Path, exists=True)
EXISTING_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
EXISTING_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
#: Folder that is made when it is missing.
FOLDER = click.Path(path_type=Path, file_okay=False)
#: Number between 0 and 1, both excluded.
INSIDE = click.FloatRange(0, 1, min_open=True, max_open=True)


def packed(
    name: str, kind: type[Any], *options: Callable[[Any], Any], title: str | None = None
) -> Callable[[_Command], _Command]:
    """Options of a command as one dataclass.

    Args:
        name: Parameter of the command that receives the dataclass.
        kind: Dataclass with a field for each of the options; fields without an option keep their defaults.
        *options: `click.option` decorators in the order of the help text.
        title: Title of their section in the help text; None leaves them among the other options.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def with_dataclass(*args: Any, **values: Any) -> Any:
            fields = {field: values.pop(field) for field in fields_of_options}
            return command(*args, **values, **{name: kind(**fields)})

        own = cast("_Command", with_dataclass)
        before = len(getattr(command, "__click_params__", ()))
        for option in reversed(options):
            own = option(own)
        params: list[click.Parameter] = own.__click_params__  # type: ignore[attr-defined]  # where click keeps them
        if title is not None:
            for param in params[before:]:
                setattr(param, SECTION, title)
        fields_of_options = [param.name for param in params[before:] if param.name is not None]
        return own

    return decorate


def open_option(command: _Command) -> _Command:
    """`--open`, as the parameter `show`."""
    return click.option("--open", "show", is_flag=True, help="Open the report when it is written.")(command)


def json_option(command: _Command) -> _Command:
    """`--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the report to stdout as JSON.")(
        command
    )


def about_option(command: _Command) -> _Command:
    """`--about`: the sentences of a model card."""
    return click.option(
        "--about",
        type=EXISTING_FILE,
        help="YAML file with intended use, limitations and data for the card. Default: built-in text on the "
        "training data.",
    )(command)


def set_option(command: _Command) -> _Command:
    """`--set`, as the parameter `overrides`."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY.SUB=VALUE",
        help="Key of the configuration with its value; may be given several times.",
    )(command)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """What a user states about a table of labels.

    Attributes:
        id_column: Column that names the image.
        label_column: Column of the labels.
        map_labels: Label of the table and its new name.
        drop_classes: Classes to leave out.
    """

    id_column: str | None = None
    label_column: str | None = None
    map_labels: tuple[tuple[str, str], ...] = ()
    drop_classes: tuple[tuple[str, ...], ...] = ()

    def options(self) -> LabelOptions:
        """The same for the library."""
        from skinclf.tables.reference import LabelOptions

        return LabelOptions(
            id_column=self.id_column,
            label_column=self.label_column,
            map_labels=dict(self.map_labels),
            drop_classes=tuple(name for names in self.drop_classes for name in names),
        )


#: What is stated about a table of labels, as the parameter `table`.
table_options = packed(
    "table",
    TableOptions,
    click.option(
        "--id-column", metavar="COLUMN", help="Column of the labels that names the image. Default: detected."
    ),
    click.option(
        "--label-column",
        metavar="COLUMN",
        help="Column of the labels that is used alone. Default: all that are detected; they must agree.",
    ),
    click.option(
        "--map-label",
        "map_labels",
        type=LabelMapping(),
        multiple=True,
        metavar="OLD=NEW",
        help="Label of the table and the class that it means; may be given several times.",
    ),
    click.option(
        "--drop-class",
        "drop_classes",
        type=Codes(),
        multiple=True,
        help="Comma-separated classes whose images are left out; may be given several times.",
    ),
)

#: Access to the Hub, as the parameter `hub`; the token follows the rules of the Hub's client.
hub_options = packed(
    "hub",
    HubOptions,
    click.option("--revision", help="Branch, tag or commit of the Hub repository."),
    click.option("--offline", is_flag=True, help="Use the download cache only, never the network."),
    click.option(
        "--cache-dir",
        type=click.Path(path_type=Path),
        help="Folder of the download cache. Default: that of the Hub client.",
    ),
    title="Hub",
)

#: Facts that a foreign model file does not record, as the parameter `options`.
model_options = packed(
    "options",
    ModelOptions,
    click.option(
        "--labels",
        metavar="NAME|CODES",
        help="Labels of the model in output order, where its file has none: ham10000, isic2019, malignant, "
        "melanoma, or comma-separated codes.",
    ),
    click.option(
        "--preprocess",
        metavar="NAME|FILE",
        help="Preprocessing of the model, where its file has none: caffe, tf, torch, unit or raw, each with the "
        "resize of its training (caffe-opencv, torch-pillow, torch-pillow-bicubic, unit-tensorflow, ...), or JSON "
        "(text or a file) as `skinclf models show` prints it.",
    ),
    click.option(
        "--input-size",
        type=InputSize(),
        metavar="N|HxW",
        help="Height and width of the input in pixels, where neither the file nor --preprocess states them.",
    ),
    click.option(
        "--malignant", type=Codes(), help="Comma-separated codes that count as malignant, for custom labels."
    ),
    click.option(
        "--architecture", help="Name of the network, for files of bare weights, such as efficientnet_b0."
    ),
    click.option(
        "--state-key",
        metavar="KEY",
        help="Key of the state dict, for a PyTorch checkpoint that holds several, such as ema or models.student.",
    ),
    click.option(
        "--metadata-encoding",
        type=EXISTING_FILE,
        metavar="FILE",
        help="JSON file that declares how age, sex and site become the second input of a Keras or ONNX file.",
    ),
    title="Facts that a model file may lack",
)


def _only_one(_ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> str | None:
    if len(value) > 1:
        raise click.BadParameter(
            f"{len(value)} models were given and one is expected; several become one by `skinclf models combine`.",
            param=param,
        )
    return value[0] if value else None


def one_model_option(help_text: str, *, required: bool = False) -> Callable[[_Command], _Command]:
    """`--model` where several are refused, as the parameter `model`."""
    return click.option(
        "--model", multiple=True, required=required, callback=_only_one, metavar="TEXT", help=help_text
    )


def mean_options(command: _Command) -> _Command:
    """`--average`, `--weights` and `--tta`: how several models, or views of one, are averaged."""
    for option in (
        click.option(
            "--tta",
            type=click.Choice(["none", "flips", "d4", "d4+zoom"]),
            default="none",
            show_default=True,
            help="Test-time augmentation: views of each image that are averaged; of one model, it adds the column "
            "tta_spread.",
        ),
        click.option(
            "--weights",
            type=Numbers(),
            metavar="W,W,...",
            help="Weights of several models, one each in their order. Default: equal.",
        ),
        click.option(
            "--average",
            type=click.Choice(["probability", "logit"]),
            default="probability",
            show_default=True,
            help="Quantity that is averaged over several models.",
        ),
    ):
        command = option(command)
    return command


def device_option(default: str) -> Callable[[_Command], _Command]:
    """`--device`."""
    return click.option(
        "--device",
        type=Device(),
        default=default,
        show_default=True,
        help="Device that runs the model: auto, cpu, cuda[:n] or mps.",
    )


def runtime_option(default: str) -> Callable[[_Command], _Command]:
    """`--runtime`."""
    return click.option(
        "--runtime",
        default=default,
        show_default=True,
        help="Runtime of the model: auto, torch, torch-compile, openvino, onnxruntime or keras.",
    )


def confidence_option(command: _Command) -> _Command:
    """`--confidence`."""
    return click.option(
        "--confidence",
        type=INSIDE,
        default=0.95,
        show_default=True,
        help="Confidence level of all intervals.",
    )(command)


def replicates_option(command: _Command) -> _Command:
    """`--replicates`."""
    return click.option(
        "--replicates",
        type=click.IntRange(min=1),
        default=2000,
        show_default=True,
        help="Number of bootstrap resamples of the lesions, for the intervals.",
    )(command)


def bootstrap_seed_option(command: _Command) -> _Command:
    """`--seed` of the bootstrap."""
    return click.option(
        "--seed", type=int, default=0, show_default=True, help="Random seed of the bootstrap."
    )(command)
