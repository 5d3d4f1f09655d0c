"""addy.io's calls about rules."""

from uuid import UUID

from django.utils.translation import gettext
from rest_framework.request import Request

from api.addy.ids import public_ids
from api.addy.rule_inputs import RuleId, RuleIds, RuleInput, content, unprocessable
from api.addy.rule_objects import RuleObject, can_be_shown, rule_object
from api.addy.schema import AddyCall
from api.answers import Answer
from api.errors import NotFound, Unprocessable
from api.schema import query
from api.views import ApiView
from rules.exceptions import InvalidRule
from rules.keeping import change_rule, make_rule, order_rules
from rules.models import Rule
from tokens.scopes import Scope

ALL = query("all", "`true`: also rules that have something which addy.io, and so its apps, do not know.")


class RuleView(ApiView):
    scope = Scope.MANAGE

    def mine(self) -> list[Rule]:
        return list(Rule.objects.owned_by(self.caller).in_order())

    def rule(self, uuid: UUID | None) -> Rule:
        """The caller's rule of this id. Raises NotFound."""
        for rule in self.mine():
            if uuid in public_ids("rule", rule.pk):
                return rule
        raise NotFound(gettext("There is no such rule."))

    def listed(self) -> list[RuleObject]:
        """The caller's rules in their order; without those that would stop addy.io's apps, unless the query
        asks for all."""
        is_all = self.query.get("all") == "true"
        return [self.shown(rule) for rule in self.mine() if is_all or can_be_shown(rule)]

    def shown(self, rule: Rule) -> RuleObject:
        return rule_object(rule, self.caller, activity=self.shows_activity)

    def shown_anew(self, key: int, status: int = 200) -> Answer:
        """The caller's rule of this key, as it is now."""
        return Answer({"data": self.shown(Rule.objects.in_order().get(pk=key))}, status=status)


class Rules(RuleView):
    @AddyCall(
        "Your rules that addy.io could have too, in their order",
        {"data": list[RuleObject]},
        parameters=[ALL],
    )
    def get(self, request: Request) -> Answer:
        return Answer({"data": self.listed()})

    @AddyCall("Make a rule, after all others", {"data": RuleObject}, 201, takes=RuleInput, refuses=(422,))
    def post(self, request: Request) -> Answer:
        try:
            made = make_rule(self.caller, content(self.fields, self.caller))
        except InvalidRule as error:
            raise unprocessable(error) from error
        return self.shown_anew(made.pk, 201)


class OneRule(RuleView):
    @AddyCall("One of your rules", {"data": RuleObject})
    def get(self, request: Request, uuid: UUID) -> Answer:
        return Answer({"data": self.shown(self.rule(uuid))})

    @AddyCall("Write a rule anew", {"data": RuleObject}, takes=RuleInput, refuses=(422,))
    def patch(self, request: Request, uuid: UUID) -> Answer:
        rule = self.rule(uuid)
        try:
            change_rule(rule, content(self.fields, self.caller))
        except InvalidRule as error:
            raise unprocessable(error) from error
        return self.shown_anew(rule.pk)

    @AddyCall("Delete a rule", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.rule(uuid).delete()
        return Answer(status=204)


class ReorderedRules(RuleView):
    @AddyCall(
        "Put rules into this order; those that are not named stay in their places",
        {"data": list[RuleObject]},
        takes=RuleIds,
        parameters=[ALL],
        refuses=(422,),
    )
    def post(self, request: Request) -> Answer:
        ids = RuleIds.read(self.fields)["ids"]
        own: dict[UUID | None, int] = {
            key: rule.pk for rule in self.mine() for key in public_ids("rule", rule.pk)
        }
        if unknown := [uuid for uuid in ids if uuid not in own]:
            raise Unprocessable(f"ids.{ids.index(unknown[0])}", gettext("There is no such rule."))
        order_rules(self.caller, [own[uuid] for uuid in ids])
        return Answer({"data": self.listed()})


class ActiveRules(RuleView):
    @AddyCall("Switch a rule on", {"data": RuleObject}, takes=RuleId, refuses=(404, 422))
    def post(self, request: Request) -> Answer:
        rule = self.rule(RuleId.read(self.fields)["id"])
        rule.switch(on=True)
        return Answer({"data": self.shown(rule)})


class ActiveRule(RuleView):
    @AddyCall("Switch a rule off", status=204)
    def delete(self, request: Request, uuid: UUID) -> Answer:
        self.rule(uuid).switch(on=False)
        return Answer(status=204)
