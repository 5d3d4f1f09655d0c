"""Model instances, made of rows or new, at a fraction of what Django's own way to make them costs.

That asks each field of each instance what it is given. Here it is asked once for each statement, or model.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.base import ModelState
from django.db.models.fields import NOT_PROVIDED
from django.db.models.signals import post_init, pre_init

Row = Sequence[Any]
Model = TypeVar("Model", bound=models.Model)


def new_instance(model: type[Model], **values: Any) -> Model:
    """`model(**values)`. The values are of fields, each of its own type, and instances of related models."""
    blank = _blank(model)
    if blank is None:
        return model(**values)
    constants, made, related = blank
    instance = model.__new__(model)
    state = instance._state = ModelState()
    own = vars(instance)
    own.update(constants)
    for name, make in made.items():
        if name not in values:
            own[name] = make()
    for name, value in values.items():
        if name in related:
            own[related[name]] = value.pk
            state.fields_cache[name] = value
            # As Django's router says: there is one database.
            state.db = DEFAULT_DB_ALIAS
        elif name in constants or name in made:
            own[name] = value
        else:
            raise TypeError(f"{model.__name__} has no field {name}")
    return instance


@cache
def _blank(
    model: type[models.Model],
) -> tuple[dict[str, Any], dict[str, Callable[[], Any]], dict[str, str]] | None:
    """Of a plain model: what the fields of a new instance are, what makes it where it is another one each
    time, and the attributes with the keys of related ones."""
    if not _is_plain(model):
        return None
    fields = model._meta.concrete_fields
    made = {field.attname: field.get_default for field in fields if is_made_anew(field)}
    constants = {field.attname: field.get_default() for field in fields if field.attname not in made}
    related = {field.name: field.attname for field in fields if field.is_relation}
    return constants, made, related


def is_made_anew(field: "models.Field[Any, Any]") -> bool:
    """Whether the field's default may be another one each time."""
    if field.has_default():
        return callable(field.default)
    return field.db_default is not NOT_PROVIDED


def maker_of(model: type[Model], names: Sequence[str]) -> Callable[[Row], Model]:
    """What makes an instance of the values of these attributes, as `Model.from_db` does: the others are
    deferred. For a model that wants to know of its instances, it is `from_db`."""
    if not _is_plain(model):
        return lambda values: model.from_db(DEFAULT_DB_ALIAS, names, values)

    def make(values: Row) -> Model:
        instance = model.__new__(model)
        state = instance._state = ModelState()
        state.adding, state.db = False, DEFAULT_DB_ALIAS
        vars(instance).update(zip(names, values, strict=True))
        return instance

    return make


def populate_by(populator: Any) -> Callable[[Row, models.Model], None]:
    """The same for one of Django's RelatedPopulators: what gives an instance a related one out of its row."""
    make = maker_of(populator.model_cls, populator.init_list)
    take = populator.reorder_for_init or (lambda row: row[populator.cols_start : populator.cols_end])
    key = populator.pk_idx
    related = [populate_by(each) for each in populator.related_populators]

    def populate(row: Row, of: models.Model) -> None:
        values = take(row)
        if values[key] is None:
            populator.local_setter(of, None)
            return
        instance = make(values)
        for each in related:
            each(row, instance)
        populator.local_setter(of, instance)
        populator.remote_setter(instance, of)

    return populate


def _is_plain(model: type[models.Model]) -> bool:
    """Whether nothing happens to a new instance but that its attributes are set."""
    is_default = model.__init__ is models.Model.__init__ and (
        getattr(model.from_db, "__func__", None) is models.Model.from_db.__func__  # type: ignore[attr-defined]
    )
    return is_default and not pre_init.has_listeners(model) and not post_init.has_listeners(model)
