"""``demo tanstack-ai-durable-transport``."""

from durable_demos._serve import web_demo
from durable_demos.tanstack_ai_durable_transport._app import create_app

main = web_demo("tanstack-ai-durable-transport", 5174, create_app)

if __name__ == "__main__":
    main()
