"""The OpenAPI document: valid, and the same routes and parameters as the functions have."""

import re
import tomllib
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from shared.api import events, health, logs, openapi, requests, sessions, stats, transactions
from shared.api.description import document
from shared.config import Settings
from shared.models import PUBLIC_MODELS, Record
from shared.service import DatabaseService


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document()


def operations(described: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        operation["operationId"]: (path, method.upper())
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_the_document_is_openapi(described: dict[str, Any]) -> None:
    """The document is valid OpenAPI 3.1, its schemas and examples included."""
    OpenAPIV31SpecValidator(described).validate()


def test_every_function_is_described_as_it_is_routed(described: dict[str, Any], settings: Settings) -> None:
    """Names, routes, methods and access are those of the functions, and no function is left out."""
    service = DatabaseService(settings)
    app = func.FunctionApp()
    for module in (transactions, requests, events, sessions, logs, stats, health, openapi):
        app.register_functions(module.blueprint(service))
    routed, open_to_all = {}, set()
    for function in app.get_functions():
        trigger = function.get_trigger()
        assert trigger is not None
        binding = trigger.get_dict_repr()
        routed[function.get_function_name()] = (f"/{binding['route']}", str(binding["methods"][0]))
        if "anonymous" in str(binding["authLevel"]).lower():
            open_to_all.add(function.get_function_name())
    assert operations(described) == {name: (path, method.rpartition(".")[2]) for name, (path, method) in routed.items()}
    assert open_to_all == {"health", "openapi"}


@pytest.mark.parametrize("model", PUBLIC_MODELS)
def test_filters_are_those_that_the_model_declares(described: dict[str, Any], model: type[Record]) -> None:
    """Each filterable field is a parameter of the model's list."""
    parameters = {parameter["name"] for parameter in described["paths"][f"/{model.route}"]["get"]["parameters"]}
    assert parameters == {"limit", "cursor", "since", "until", "order", "fields", *model.filterable}


@pytest.mark.parametrize("model", PUBLIC_MODELS)
def test_schemas_are_the_models_own(described: dict[str, Any], model: type[Record]) -> None:
    """Every wire field is described, and what only the server sets is read-only."""
    properties = described["components"]["schemas"][model.__name__]["properties"]
    assert set(properties) == model.wire_names
    read_only = {name for name, schema in properties.items() if re.search(r"'readOnly': True", str(schema))}
    assert read_only == model.server_set


@pytest.mark.parametrize("model", PUBLIC_MODELS)
def test_a_list_may_show_some_fields_only(described: dict[str, Any], model: type[Record]) -> None:
    """The items of a list require no field, since `fields` may leave any of them out."""
    answer = described["paths"][f"/{model.route}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    name = answer["properties"][model.route]["items"]["$ref"].rpartition("/")[2]
    schemas = described["components"]["schemas"]
    assert "required" not in schemas[name]
    assert schemas[name]["properties"] == schemas[model.__name__]["properties"]


def test_every_answer_names_its_request(described: dict[str, Any]) -> None:
    """x-request-id may be sent to every path and comes with every answer."""
    parameter = {"$ref": "#/components/parameters/RequestId"}
    assert described["components"]["parameters"]["RequestId"]["name"] == "x-request-id"
    for item in described["paths"].values():
        assert parameter in item["parameters"]
        for operation in (operation for method, operation in item.items() if method != "parameters"):
            for response in operation["responses"].values():
                problem = described["components"]["responses"].get(response.get("$ref", "").rpartition("/")[2], response)
                assert "x-request-id" in problem["headers"]


def test_the_version_is_the_packages(described: dict[str, Any]) -> None:
    """The document, the package and the project file name the same version."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert described["info"]["version"] == project["version"]
