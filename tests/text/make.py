"""Tiny checkpoints with random weights, and small files of texts."""

import json

import torch

WORDS = [f"w{i}" for i in range(30)] + ["good", "bad", "fine", "poor"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer(first=()):
    """A tokenizer of words, with BERT's special tokens behind ``first``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*first, *SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, vocabulary[t]) for t in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def model(family="bert", *, labels=3, dropout=0.0, classifier=True, each="text"):
    """A model of transformers with 2 layers of 16 features, 4 heads and 32 units."""
    import transformers as hf

    shape = {"vocab_size": 5 + len(WORDS), "max_position_embeddings": 24, "num_labels": labels}
    if family == "distilbert":
        config = hf.DistilBertConfig(
            dim=16, n_heads=4, n_layers=2, hidden_dim=32, dropout=dropout,
            attention_dropout=dropout, pad_token_id=0, **shape,
        )  # fmt: skip
        stem = "DistilBert"
    else:
        cls = {"bert": hf.BertConfig, "roberta": hf.RobertaConfig}[family]
        # RoBERTa has one token before the padding.
        pad = {"bert": 0, "roberta": 1}[family]
        shape["vocab_size"] += pad
        config = cls(
            hidden_size=16, num_attention_heads=4, num_hidden_layers=2, intermediate_size=32,
            hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, pad_token_id=pad,
            type_vocab_size=2 if family == "bert" else 1, **shape,
        )  # fmt: skip
        stem = {"bert": "Bert", "roberta": "Roberta"}[family]
    ending = {"text": "ForSequenceClassification", "token": "ForTokenClassification"}[each]
    torch.manual_seed(0)
    made = getattr(hf, stem + (ending if classifier else "Model"))(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            # Larger than a fresh model's, so that what differs is seen.
            parameter.add_(0.4 * torch.randn(parameter.shape))
    return made


def checkpoint(folder, family="bert", **options):
    """A folder with a tiny model and its tokenizer; returns the model."""
    made = model(family, **options)
    made.save_pretrained(folder)
    tokenizer(["<s>"] if family == "roberta" else ()).save_pretrained(folder)
    return made


def texts(n, seed=0):
    """Sentences of 2 to 9 words, and whether a good word stands in each."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(n):
        length = 1 + int(torch.randint(1, 9, (1,), generator=g))
        words = [WORDS[int(j)] for j in torch.randint(0, 30, (length,), generator=g)]
        place = int(torch.randint(0, length, (1,), generator=g))
        other = int(torch.randint(0, 2, (1,), generator=g))
        words[place] = (("bad", "poor"), ("good", "fine"))[i % 2][other]
        rows.append((" ".join(words), ("no", "yes")[i % 2]))
    return rows


def write_tsv(path, n=60, seed=0):
    """A TSV with the columns label and text."""
    path.write_text("label\ttext\n" + "".join(f"{y}\t{x}\n" for x, y in texts(n, seed)))
    return path


def tagged(n, seed=0):
    """Sentences of 2 to 9 words; good and fine are B-Q, and bad behind one of them I-Q."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(n):
        length = 2 + int(torch.randint(0, 8, (1,), generator=g))
        words = [WORDS[int(j)] for j in torch.randint(26, 34, (length,), generator=g)]
        tags = []
        for word in words:
            inside = word in ("bad", "poor") and tags and tags[-1] != "O"
            tags.append("B-Q" if word in ("good", "fine") else "I-Q" if inside else "O")
        rows.append((words, tags))
    return rows


def write_conll(path, n=60, seed=0):
    """A word and a tag a line."""
    sentences = ["\n".join(map(" ".join, zip(*row, strict=True))) for row in tagged(n, seed)]
    path.write_text("\n\n".join(sentences) + "\n")
    return path


def write_jsonl(path, rows):
    """JSON lines of dictionaries."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
