// Called with every event; what it returns is the answer.
export const handler = async (event, context) => {
  console.log(`event ${context.awsRequestId}`);
  return { hello: 'from FUNCTION_NAME', event };
};
