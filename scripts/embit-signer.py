"""A second wallet for the tests: PSBTs made and signed by embit (MIT), which shares no line with Lode.

Built into one file by scripts/peers. PSBTs go in and come out in base64.

    embit-signer --version
    embit-signer sign "WORDS ..."        signs what the words' keys can; prints how many signatures on stderr
    embit-signer rewrite 0|2             the same PSBT in the form of BIP174 or BIP370
    embit-signer make "WORDS ..."        from JSON: {"version", "inputs": [{"tx", "vout", "path"}], "outputs": [{"script", "sat"}]}
"""

import json
import sys
from importlib.metadata import version

from embit import bip32, bip39
from embit.psbt import PSBT, DerivationPath
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput


def root_of(words):
    return bip32.HDKey.from_seed(bip39.mnemonic_to_seed(words))


def make(words, order):
    root = root_of(words)
    spent = [Transaction.parse(bytes.fromhex(entry["tx"])) for entry in order["inputs"]]
    vin = [
        TransactionInput(tx.txid(), entry["vout"], sequence=0xFFFFFFFD)
        for tx, entry in zip(spent, order["inputs"])
    ]
    vout = [TransactionOutput(entry["sat"], Script(bytes.fromhex(entry["script"]))) for entry in order["outputs"]]
    psbt = PSBT(Transaction(2, vin, vout, 0), version=order["version"] or None)
    for scope, tx, entry in zip(psbt.inputs, spent, order["inputs"]):
        output = tx.vout[entry["vout"]]
        derivation = DerivationPath(root.my_fingerprint, bip32.parse_path(entry["path"]))
        key = root.derive(entry["path"]).get_public_key()
        kind = output.script_pubkey.script_type()
        if kind == "p2tr":
            scope.witness_utxo = output
            scope.taproot_internal_key = key
            scope.taproot_bip32_derivations[key] = ([], derivation)
            continue
        scope.non_witness_utxo = tx
        scope.bip32_derivations[key] = derivation
        if kind == "p2sh":
            from embit.script import p2wpkh

            scope.redeem_script = p2wpkh(key)
        if kind != "p2pkh":
            scope.witness_utxo = output
    return psbt


def main(arguments):
    match arguments:
        case ["--version"]:
            print("embit", version("embit"))
        case ["sign", words]:
            psbt = PSBT.from_string(sys.stdin.read().strip())
            print("signatures:", psbt.sign_with(root_of(words)), file=sys.stderr)
            print(psbt.to_string())
        case ["rewrite", form]:
            psbt = PSBT.from_string(sys.stdin.read().strip())
            psbt.version = int(form) or None
            print(psbt.to_string())
        case ["make", words]:
            print(make(words, json.load(sys.stdin)).to_string())
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
