"""``demo vercel-ai-sdk-durable-transport``."""

from durable_demos._serve import web_demo
from durable_demos.vercel_ai_sdk_durable_transport._app import create_app

main = web_demo("vercel-ai-sdk-durable-transport", 5173, create_app)

if __name__ == "__main__":
    main()
