"""``python -m llama_serving.weights``: the commands that the operator's pods run on weights.

``resolve`` inspects weights at their source, ``resolve-adapter`` a LoRA adapter; the exit status is 0 whenever a report
was written, since a refused model is a result. ``stage`` is the stager, ``proxy`` its way out. ``fetch-config`` brings
the small files without which no engine can be configured. The makers of test models have command lines of their own
(``python -m testbed.models.tiny``).
"""

import argparse
import sys

from llama_serving.config.error_text import error_text
from llama_serving.config.logs.lines import write_failure
from llama_serving.weights.proxy import command as proxy_command
from llama_serving.weights.resolve import command as resolve_command
from llama_serving.weights.resolve import fetch_config
from llama_serving.weights.resolve.publish import PublishError
from llama_serving.weights.source.interface import SourceError
from llama_serving.weights.staging import command as stage_command


def main(arguments: list[str]) -> int:
    """Run one command. Raises OSError when the report cannot be written."""
    parser = argparse.ArgumentParser(prog="python -m llama_serving.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("resolve", help="inspect weights at their source, and make their manifest")
    resolve_command.add_arguments(command)
    command.set_defaults(run=resolve_command.run)
    command = commands.add_parser("resolve-adapter", help="inspect a LoRA adapter likewise")
    resolve_command.add_arguments(command, adapter=True)
    command.set_defaults(run=resolve_command.run)
    command = commands.add_parser("stage", help="download into a stage's pod what its engine needs, and verify it")
    stage_command.add_arguments(command)
    command.set_defaults(run=stage_command.main)
    command = commands.add_parser("proxy", help="let stagers with the key reach sources, and nobody else")
    proxy_command.add_arguments(command)
    command.set_defaults(run=proxy_command.main)
    command = commands.add_parser("fetch-config", help="download a model's config files, without its weights")
    fetch_config.add_arguments(command)
    command.set_defaults(run=fetch_config.run)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status


def _run(arguments: list[str]) -> int:
    """Run one command; the last line of the log of one that fails is what the operator shows."""
    try:
        return main(arguments)
    except OSError as error:
        write_failure(error, f"{error.filename or 'the report'} cannot be written: {error_text(error)}")
    except (PublishError, SourceError) as error:
        write_failure(error, str(error))
    return 1


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
