"""`c2o sign`: what may be typed, handed to c2o_evidence.signing.command."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "sign a frozen bundle"
HELP = """\
Signs the root digest of a bundle that verifies. The signature goes to manifests/signatures/NAME (or to
BUNDLE.signatures for a bundle outside a checkout), never into the bundle.

methods:
  ssh             with an SSH key (ssh-keygen -Y): a private key file, or a public one whose private part ssh-agent or a
                  security key holds; passphrases are asked for on the terminal
  model-signing   OpenSSF's model signature over all files, with an EC private key as PEM (`make attest` installs the
                  program)

examples:
  c2o sign deliverables/step1_5seed --key ~/.ssh/id_ed25519
  c2o verify deliverables/step1_5seed --signer you@example.org --allowed-signers signers
  c2o sign deliverables/step1_5seed --method model-signing --key key.pem
  c2o verify deliverables/step1_5seed --public-key key.pub

docs/signatures.md says how to publish keys, and how to check a signature with OpenSSH alone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the key to sign with")
    parser.add_argument("--method", choices=("ssh", "model-signing"), default="ssh")


def run(arguments: argparse.Namespace, root: Path) -> int:
    from c2o_evidence.signing.command import sign_command

    return sign_command(arguments.bundle, arguments.key.expanduser(), arguments.method)
