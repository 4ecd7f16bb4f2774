"""Composes the function app. Nothing is connected here: the service connects on its first use."""

import os

import azure.functions as func

from shared.api import events, health, logs, openapi, requests, sessions, stats, transactions
from shared.config import Settings
from shared.jobs import retention
from shared.service import DatabaseService

service = DatabaseService(Settings.from_env(os.environ))
app = func.FunctionApp()
for module in (transactions, requests, events, sessions, logs, stats, health, openapi, retention):
    app.register_functions(module.blueprint(service))
