"""What the OneOfs of a model decide: its choices, and which parameters each option brings."""

from collections import defaultdict

from torch import nn

from ..core.architecture import Option
from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.space import Choice
from .one_of import OneOf

Chain = tuple[tuple[str, str], ...]
"""(choice, option) pairs, outermost first, that all must be taken for a part to be there."""


class ModelChoices:
    """The choices of a model, read off its OneOfs, which are told the names of theirs.

    Args:
        model: Holds OneOfs.

    Attributes:
        choices: In the order in which the model registers them; one of a nested OneOf depends on
            the choice around it.
        with_parameters: The (choice, option) pairs that bring parameters.

    Raises:
        UsageError: No OneOf, labels that clash, or a OneOf whose presence no single other choice
            tells.
    """

    def __init__(self, model: nn.Module) -> None:
        self._ones: dict[str, list[OneOf]] = {}
        self._chains: dict[str, set[Chain]] = defaultdict(set)
        self._parameters: dict[nn.Parameter, set[Chain]] = defaultdict(set)
        self._names: dict[OneOf, str] = {}
        self._walk(model, (), ())
        if not self._ones:
            raise UsageError(
                f"The model {type(model).__name__!r} has no OneOf among its submodules: replace "
                "a layer by nas_domains.OneOf({name: module, ...})."
            )
        self._check_labels()
        self.choices = tuple(self._choice(name) for name in self._ones)
        self._by_name = {choice.name: choice for choice in self.choices}
        self.with_parameters = {
            pair for chains in self._parameters.values() for chain in chains for pair in chain
        }

    def _walk(self, module: nn.Module, path: tuple[str, ...], chain: Chain) -> None:
        for parameter in module._parameters.values():
            if parameter is not None:
                self._parameters[parameter].add(chain)
        if not isinstance(module, OneOf):
            for part, child in module.named_children():
                self._walk(child, (*path, part), chain)
            return
        if module not in self._names:
            self._names[module] = module.label or ".".join(path) or "model"
            self._ones.setdefault(self._names[module], []).append(module)
        name = module.choice = self._names[module]
        if any(name == outer for outer, _ in chain):
            raise UsageError(
                f"The OneOf {name!r} lies in a candidate of a OneOf of the same label: give it "
                "another."
            )
        self._chains[name].add(chain)
        for option, candidate in module.candidates.items():
            self._walk(candidate, (*path, option), (*chain, (name, option)))

    def _check_labels(self) -> None:
        for name, ones in self._ones.items():
            if len({one.label is None for one in ones}) > 1:
                raise UsageError(
                    f"The label {name!r} is the place of another OneOf: choose another label."
                )
            first = list(ones[0].candidates)
            for one in ones[1:]:
                if list(one.candidates) != first:
                    raise UsageError(
                        f"The OneOfs of the label {name!r} have other candidates "
                        f"({', '.join(first)}; {', '.join(one.candidates)}): give them the same "
                        "names in the same order, or labels of their own."
                    )

    def _needed(self, name: str) -> set[Chain]:
        """The chains of which one must be taken for a choice to be there; {()}: it always is."""
        return {()} if () in self._chains[name] else self._chains[name]

    def _choice(self, name: str) -> Choice:
        options = tuple(self._ones[name][0].candidates)
        chains = self._chains[name]
        if () in chains:
            return Choice(name, options)
        last = {chain[-1] for chain in chains}
        parent = min(choice for choice, _ in last)
        when = tuple(o for o in self._ones[parent][0].candidates if (parent, o) in last)
        expected = {(*chain, (parent, o)) for chain in self._needed(parent) for o in when}
        if {choice for choice, _ in last} != {parent} or not expected <= chains:
            places = ", ".join(sorted({"/".join(f"{c}={o}" for c, o in ch) for ch in chains}))
            raise UsageError(
                f"The OneOf {name!r} is there for {places}, which no single other choice tells: "
                "keep it in candidates of one OneOf, or give its places labels of their own."
            )
        return Choice(name, options, parent, when)

    def parameter_table(self) -> CostTable:
        """The table of ``params``: the trained parameters that each option brings.

        It is exact unless parameters are shared in a way that choices do not add up to: by
        options of several choices, or by some of the places of a label; those count nowhere then.
        """
        base, exact = 0.0, True
        columns = {
            c.name: {w: dict.fromkeys(c.options, 0.0) for w in self._whens(c)}
            for c in self.choices
        }
        for parameter, chains in self._parameters.items():
            if not parameter.requires_grad:
                continue
            if () in chains:
                base += parameter.numel()
                continue
            places = self._places(chains)
            exact = exact and bool(places)
            for name, when, option in places:
                columns[name][when][option] += parameter.numel()
        options: dict[str, dict[Option, float]] = {}
        given: dict[str, tuple[str, dict[Option, dict[Option, float]]]] = {}
        parents = {choice.parent for choice in self.choices}
        for choice in self.choices:
            found = columns[choice.name]
            each = list(found.values())
            if all(column == each[0] for column in each):
                options[choice.name] = each[0]
            elif choice.name not in parents:
                assert choice.parent is not None
                given[choice.name] = (choice.parent, found)
            else:
                # Draws under a limit know one choice's costs by one other, and no further.
                options[choice.name] = {o: min(c[o] for c in each) for o in choice.options}
                exact = False
        return CostTable(base, options, given, exact)

    @staticmethod
    def _whens(choice: Choice) -> tuple[Option, ...]:
        """The parent's options for which a choice is there; ("",) where it has no parent."""
        return choice.when if choice.parent is not None else ("",)

    def _places(self, chains: set[Chain]) -> list[tuple[str, Option, Option]]:
        """The (choice, its parent's option, option) that together tell whether a part is there.

        Returns:
            Empty where they do not.
        """
        last = {chain[-1] for chain in chains}
        if len(last) > 1:
            return []
        ((name, option),) = last
        choice = self._by_name[name]
        if choice.parent is None:
            return [(name, "", option)] if ((name, option),) in chains else []
        parent, told = choice.parent, set()
        places: list[tuple[str, Option, Option]] = []
        for when in choice.when:
            pairs = ((parent, str(when)), (name, option))
            if {(*chain, *pairs) for chain in self._needed(parent)} <= chains:
                places.append((name, when, option))
                told.add(when)
        return places if {chain[-2][1] for chain in chains} <= told else []
