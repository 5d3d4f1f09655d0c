from accounts.commands import CreateUserCommand


class Command(CreateUserCommand):
    help = "Create a global admin, with a verified address and a link for choosing a password."
    is_superuser = True
