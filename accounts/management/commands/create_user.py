from accounts.commands import CreateUserCommand


class Command(CreateUserCommand):
    help = "Create a user, with a verified address and a link for choosing a password."
