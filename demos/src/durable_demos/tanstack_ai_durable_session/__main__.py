"""``demo tanstack-ai-durable-session``."""

from durable_demos._serve import web_demo
from durable_demos.tanstack_ai_durable_session._app import create_app

main = web_demo("tanstack-ai-durable-session", 5175, create_app)

if __name__ == "__main__":
    main()
